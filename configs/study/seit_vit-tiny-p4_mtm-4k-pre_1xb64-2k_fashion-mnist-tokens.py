"""SeiT w/ MTM: a classifier of codes, fine-tuned from MTM with SeiT's augmentation.

    python tools/train.py configs/study/seit_vit-tiny-p4_mtm-4k-pre_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seitpp_vit-tiny-p4_mtm-4k-pre_1xb64-2k_fashion-mnist-tokens.py"

encoder = dict(checkpoint="work_dirs/mtm_vit-tiny-p4_seit-aug_1xb64-4k_fashion-mnist-tokens/iter_4000.pth")
model = dict(backbone=dict(init_cfg=encoder))
data_preprocessor = dict(augments=_base_.pipelines.seit)
