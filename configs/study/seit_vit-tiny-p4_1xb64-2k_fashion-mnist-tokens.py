"""SeiT from scratch on Fashion-MNIST's tokens.

    python tools/train.py configs/study/seit_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/seit_vit-tiny-p2.py",
    "../_base_/datasets/study_fashion-mnist_tokens.py",
    "../_base_/augments/study_fashion-mnist.py",
    "../_base_/schedules/study_adamw_1xb64-2k.py",
    "../_base_/study_runtime.py",
]

model = dict(backbone=dict(grid_size=_base_.grid_size, code_dim=_base_.code_dim))
data_preprocessor = dict(augments=_base_.pipelines.seit, num_classes=10, output="embeddings")
