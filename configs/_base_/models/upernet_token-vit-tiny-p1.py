"""UPerNet on codes, small enough for a CPU: 16 x 16 codes of 4 x 4 pixels, each a patch, and four blocks."""

_base_ = "./upernet_token-vit-base-p16.py"

dims = 64

model = dict(
    backbone=dict(
        arch=dict(embed_dims=dims, num_layers=4, num_heads=4, feedforward_channels=4 * dims),
        grid_size=16,
        drop_path_rate=0.0,
        patch_size=1,
        codebook_size=256,
        out_indices=[0, 1, 2, 3],
    ),
    neck=dict(embed_dim=dims, rescales=[2, 1, 0.5, 0.25]),  # half the pixels of a side at most: a quarter of the time
    decode_head=dict(in_channels=[dims] * 4, channels=dims, num_classes=5),
    auxiliary_head=dict(in_channels=dims, channels=dims, num_classes=5),
)
