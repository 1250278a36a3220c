"""SeiT's classifier with ViT-S."""

_base_ = "./seit_vit-base-p16.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=384, num_heads=6, feedforward_channels=1536)),
    head=dict(in_channels=384),
)
