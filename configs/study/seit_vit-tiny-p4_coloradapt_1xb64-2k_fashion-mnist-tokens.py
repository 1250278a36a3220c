"""SeiT with ColorAdapt and without TokenAdapt (compare SeiT++, Table 7).

    python tools/train.py configs/study/seit_vit-tiny-p4_coloradapt_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/seit_vit-tiny-p2.py",
    "../_base_/datasets/study_tokens.py",
    "../_base_/augments/mnist5k_seit.py",
    "../_base_/schedules/study_adamw_1xb64-2k.py",
    "../_base_/study_runtime.py",
]

model = dict(backbone=dict(grid_size=7, code_dim=16))
colour_change = dict(_base_.colour_change)
augments = [dict(_base_.token_rrc, size=7), colour_change, _base_.rare_cutmix]
data_preprocessor = dict(augments=augments, num_classes=10, output="embeddings")
