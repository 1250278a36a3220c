"""MTM small enough for a CPU: 4 x 4 codes of 2 x 2-pixel patches, K = 64, each code a patch of the network."""

_base_ = "./mtm_vit-base-p16.py"

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=256),
        grid_size=4,
        patch_size=1,
        codebook_size=64,
    ),
    neck=dict(decoder_embed_dims=64, num_layers=2, num_heads=4),
)
