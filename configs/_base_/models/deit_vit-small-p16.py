"""DeiT-S on pixels."""

_base_ = "./deit_vit-base-p16.py"

model = dict(backbone=dict(arch="deit-small"), head=dict(in_channels=384))
