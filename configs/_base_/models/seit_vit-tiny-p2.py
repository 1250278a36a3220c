"""SeiT's classifier, small enough for a CPU: 4 x 4 tokens of 2 x 2 pixels, each a patch; the stem overlaps."""

_base_ = "./seit_vit-base-p16.py"

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=256),
        grid_size=4,
        patch_size=1,
        code_dim=4,
        patch_cfg=dict(kernel_size=3, stride=1, padding=1),
    ),
    head=dict(num_classes=10, in_channels=64),
)
