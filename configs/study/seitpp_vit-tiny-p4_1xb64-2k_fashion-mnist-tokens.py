"""SeiT++ without MTM on Fashion-MNIST's tokens: TokenAdapt and ColorAdapt.

    python tools/train.py configs/study/seitpp_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seit_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py"

data_preprocessor = dict(augments=_base_.pipelines.seitpp)
