"""SeiT++ without MTM on CIFAR-10's tokens: TokenAdapt and ColorAdapt.

    python tools/train.py configs/study/seitpp_vit-tiny-p4_1xb64-2k_cifar-10-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seit_vit-tiny-p4_1xb64-2k_cifar-10-tokens.py"

data_preprocessor = dict(augments=_base_.pipelines.seitpp)
