"""SeiT++ w/ MTM with SeiT's overlapping stem, in pre-training and fine-tuning.

    python tools/train.py configs/study/seitpp_vit-tiny-p4_overlap_mtm-4k-pre_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seitpp_vit-tiny-p4_mtm-4k-pre_1xb64-2k_fashion-mnist-tokens.py"

encoder = dict(
    _base_.encoder, checkpoint="work_dirs/mtm_vit-tiny-p4_overlap_1xb64-4k_fashion-mnist-tokens/iter_4000.pth"
)
model = dict(backbone=dict(init_cfg=encoder, patch_cfg=dict(kernel_size=3, stride=1, padding=1)))
