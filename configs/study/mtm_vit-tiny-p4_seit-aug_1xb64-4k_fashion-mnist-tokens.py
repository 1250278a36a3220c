"""MTM for SeiT w/ MTM, which has no TokenAdapt: Token-RRC alone.

    python tools/train.py configs/study/mtm_vit-tiny-p4_seit-aug_1xb64-4k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./mtm_vit-tiny-p4_1xb64-4k_fashion-mnist-tokens.py"

data_preprocessor = dict(augments=_base_.pipelines.mtm_seit)
