"""Codes from scratch with the overlapping stem that SeiT's network has: which part of the gap is the stem's.

    python tools/train.py configs/study/codes_vit-tiny-p4_overlap_1xb64-2k_cifar-10-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./codes_vit-tiny-p4_1xb64-2k_cifar-10-tokens.py"

model = dict(backbone=dict(patch_cfg=dict(kernel_size=3, stride=1, padding=1)))
