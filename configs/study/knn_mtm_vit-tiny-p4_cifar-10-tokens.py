"""Nearest neighbours in the features of MTM's encoder.

    python tools/test.py configs/study/knn_mtm_vit-tiny-p4_cifar-10-tokens.py \
        work_dirs/mtm_vit-tiny-p4_1xb64-4k_cifar-10-tokens/iter_4000.pth

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/study_cifar-10_tokens.py",
    "../_base_/evaluation/knn.py",
    "../_base_/study_runtime.py",
]

model = dict(
    backbone=dict(grid_size=_base_.grid_size, codebook_size=_base_.codebook_size),
    head=dict(_delete_=True, type="seitpp.KNNHead", num_classes=10, in_channels=64),
)
default_hooks = dict(bank=dict(type="seitpp.KNNBankHook", dataset=_base_.train_dataloader.dataset))
train_dataloader = val_dataloader = None
