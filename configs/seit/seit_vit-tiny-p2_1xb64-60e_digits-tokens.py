"""SeiT from scratch on digits, one of the quickstart's training runs.

    python tools/train.py configs/seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints.
"""

_base_ = [
    "../_base_/models/seit_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/augments/digits_seit.py",
    "../_base_/schedules/seit_adamw_1xb64-60e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(augments=_base_.augments, num_classes=10, output="embeddings")
default_hooks = dict(logger=dict(interval=9), checkpoint=dict(interval=10, max_keep_ckpts=1))
