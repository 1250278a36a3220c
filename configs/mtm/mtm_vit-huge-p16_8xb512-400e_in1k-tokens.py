"""MTM pre-training of ViT-H on ImageNet-1k tokens, sharded over the GPUs (FSDP), with activation checkpointing.

    bash tools/dist_train.sh configs/mtm/mtm_vit-huge-p16_8xb512-400e_in1k-tokens.py 8 --amp

Expect: not run here; the paper trains ViT-B alone. Recipe and decoder are ViT-B's.
"""

_base_ = "./mtm_vit-large-p16_8xb512-400e_in1k-tokens.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=1280, num_layers=32, num_heads=16, feedforward_channels=5120)),
)
