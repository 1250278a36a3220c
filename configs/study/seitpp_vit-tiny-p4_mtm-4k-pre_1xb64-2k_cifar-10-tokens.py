"""SeiT++ on CIFAR-10's tokens: a classifier of codes, fine-tuned from MTM.

    python tools/train.py configs/study/seitpp_vit-tiny-p4_mtm-4k-pre_1xb64-2k_cifar-10-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/study_cifar-10_tokens.py",
    "../_base_/augments/study_cifar-10.py",
    "../_base_/schedules/study_finetune_adamw_1xb64-2k.py",
    "../_base_/study_runtime.py",
]

encoder = dict(
    type="Pretrained", checkpoint="work_dirs/mtm_vit-tiny-p4_1xb64-4k_cifar-10-tokens/iter_4000.pth", prefix="backbone."
)
model = dict(backbone=dict(grid_size=_base_.grid_size, codebook_size=_base_.codebook_size, init_cfg=encoder))
data_preprocessor = dict(augments=_base_.pipelines.finetune, num_classes=10)
