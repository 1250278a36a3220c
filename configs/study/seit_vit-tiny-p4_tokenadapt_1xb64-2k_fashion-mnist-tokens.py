"""SeiT with TokenAdapt and without ColorAdapt (compare SeiT++, Table 7).

    python tools/train.py configs/study/seit_vit-tiny-p4_tokenadapt_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seit_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py"

data_preprocessor = dict(augments=_base_.pipelines.tokenadapt)
