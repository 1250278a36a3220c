"""Linear classifier on the frozen encoder of mtm_vit-tiny-p2.py."""

_base_ = "./mtm-linear_vit-base-p16.py"

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=256),
        grid_size=4,
        patch_size=1,
        codebook_size=64,
        frozen_stages=3,
    ),
    neck=dict(input_features=64),
    head=dict(num_classes=10, in_channels=64),
)
