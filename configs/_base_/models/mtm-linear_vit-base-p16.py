"""Linear classifier on a frozen encoder of MTM: features of mean 0 and deviation 1, then a linear layer (MAE)."""

_base_ = "./mtm-classifier_vit-base-p16.py"

model = dict(
    backbone=dict(frozen_stages=12, token_drop_rate=0.0, drop_path_rate=0.0),
    neck=dict(type="ClsBatchNormNeck", input_features=768),
    head=dict(
        loss=dict(_delete_=True, type="CrossEntropyLoss"),
        init_cfg=[dict(type="TruncNormal", layer="Linear", std=0.01)],
    ),
)
