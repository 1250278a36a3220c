"""MTM with the overlapping stem that SeiT's network has; hidden codes are 0 before it, so that none shows through.

    python tools/train.py configs/study/mtm_vit-tiny-p4_overlap_1xb64-4k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./mtm_vit-tiny-p4_1xb64-4k_fashion-mnist-tokens.py"

model = dict(backbone=dict(hide_before_stem=True, patch_cfg=dict(kernel_size=3, stride=1, padding=1)))
