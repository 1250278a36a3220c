"""SeiT++ without MTM on Fashion-MNIST's tokens: TokenAdapt and ColorAdapt.

    python tools/train.py configs/study/seitpp_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/seit_vit-tiny-p2.py",
    "../_base_/datasets/study_tokens.py",
    "../_base_/augments/study_seitpp.py",
    "../_base_/schedules/study_adamw_1xb64-2k.py",
    "../_base_/study_runtime.py",
]

model = dict(backbone=dict(grid_size=7, code_dim=16))
data_preprocessor = dict(augments=_base_.augments, num_classes=10, output="embeddings")
