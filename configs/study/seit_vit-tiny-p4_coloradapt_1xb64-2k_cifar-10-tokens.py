"""SeiT with ColorAdapt and without TokenAdapt (compare SeiT++, Table 7).

    python tools/train.py configs/study/seit_vit-tiny-p4_coloradapt_1xb64-2k_cifar-10-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seit_vit-tiny-p4_1xb64-2k_cifar-10-tokens.py"

data_preprocessor = dict(augments=_base_.pipelines.coloradapt)
