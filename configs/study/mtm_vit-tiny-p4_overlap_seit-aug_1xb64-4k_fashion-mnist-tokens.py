"""MTM with SeiT's overlapping stem and Token-RRC alone.

    python tools/train.py configs/study/mtm_vit-tiny-p4_overlap_seit-aug_1xb64-4k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./mtm_vit-tiny-p4_seit-aug_1xb64-4k_fashion-mnist-tokens.py"

model = dict(backbone=dict(hide_before_stem=True, patch_cfg=dict(kernel_size=3, stride=1, padding=1)))
