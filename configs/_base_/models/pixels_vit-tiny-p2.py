"""The ViT of seit_vit-tiny-p2.py on grey pixels: 8 x 8 in patches of 2 x 2, as many as SeiT has tokens."""

_base_ = "./seit_vit-tiny-p2.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="VisionTransformer",
        arch=dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=256),
        img_size=8,
        patch_size=2,
        in_channels=1,
        drop_path_rate=0.1,
        out_type="avg_featmap",
        final_norm=False,
    )
)
