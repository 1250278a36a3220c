"""Nearest neighbours in the features of a classifier on codebook embeddings (SeiT's ViT-B), ImageNet-1k tokens.

    bash tools/dist_test.sh configs/representations/knn_seit_vit-base-p16_in1k-tokens.py \
        work_dirs/seit_vit-base-p16_8xb128-300e_in1k-tokens/epoch_300.pth 8

Expect: not run here; the paper reports none.
"""

_base_ = [
    "../_base_/models/seit_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/evaluation/knn.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(_delete_=True, type="seitpp.KNNHead", num_classes=1000, in_channels=768))
data_preprocessor = dict(output="embeddings")
default_hooks = dict(bank=dict(type="seitpp.KNNBankHook", dataset=_base_.train_dataloader.dataset))
train_dataloader = val_dataloader = None
