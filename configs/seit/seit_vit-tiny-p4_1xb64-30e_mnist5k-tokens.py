"""SeiT from scratch on five thousand images of MNIST.

    python tools/train.py configs/seit/seit_vit-tiny-p4_1xb64-30e_mnist5k-tokens.py

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/seit_vit-tiny-p2.py",
    "../_base_/datasets/mnist5k_tokens.py",
    "../_base_/augments/mnist5k_seit.py",
    "../_base_/schedules/seit_adamw_1xb64-60e.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(grid_size=7, code_dim=16))
data_preprocessor = dict(augments=_base_.augments, num_classes=10, output="embeddings")

max_epochs = 30
param_scheduler = dict(warmup=1, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
