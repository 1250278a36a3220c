"""Nearest neighbours in the features of the quickstart's MTM of digits.

    python tools/test.py configs/representations/knn_mtm_vit-tiny-p2_digits-tokens.py \
        work_dirs/quickstart/mtm/epoch_100.pth

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/evaluation/knn.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(_delete_=True, type="seitpp.KNNHead", num_classes=10, in_channels=64))
default_hooks = dict(bank=dict(type="seitpp.KNNBankHook", dataset=_base_.train_dataloader.dataset))
train_dataloader = val_dataloader = None
