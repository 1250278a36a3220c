"""MTM pre-training on CIFAR-10's tokens, with SeiT++'s augmentation.

    python tools/train.py configs/study/mtm_vit-tiny-p4_1xb64-4k_cifar-10-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/mtm_vit-tiny-p2.py",
    "../_base_/datasets/study_cifar-10_tokens.py",
    "../_base_/augments/study_cifar-10.py",
    "../_base_/schedules/study_mtm_adamw_1xb64-4k.py",
    "../_base_/study_runtime.py",
]

model = dict(backbone=dict(grid_size=_base_.grid_size, codebook_size=_base_.codebook_size))
data_preprocessor = dict(augments=_base_.pipelines.mtm_seitpp, with_data_samples=False)
train_dataloader = dict(dataset=dict(with_labels=False))
val_dataloader = dict(dataset=dict(with_labels=False))
test_dataloader = dict(dataset=dict(with_labels=False))
