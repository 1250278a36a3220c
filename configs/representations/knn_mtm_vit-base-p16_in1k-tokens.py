"""Nearest neighbours in the features of MTM's ViT-B, ImageNet-1k tokens: 50,000 images scored by 1,281,167 that vote.

    bash tools/dist_test.sh configs/representations/knn_mtm_vit-base-p16_in1k-tokens.py \
        work_dirs/mtm_vitb/epoch_400.pth 8

Expect: not run here; the paper reports none. A fine-tuned checkpoint of this encoder is scored by the same line.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/evaluation/knn.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(_delete_=True, type="seitpp.KNNHead", num_classes=1000, in_channels=768))
default_hooks = dict(bank=dict(type="seitpp.KNNBankHook", dataset=_base_.train_dataloader.dataset))
train_dataloader = val_dataloader = None
