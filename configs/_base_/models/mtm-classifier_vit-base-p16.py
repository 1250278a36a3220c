"""Classifier on codes with MTM's encoder: mean of the patches, then the norm, then a linear head."""

model = dict(
    type="mmpretrain.ImageClassifier",
    _scope_="mmpretrain",  # mmpretrain builds its own parts without a prefix
    backbone=dict(
        type="seitpp.TokenViT",
        arch=dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
        grid_size=28,
        patch_size=2,
        codebook_size=391,
        code_dim=32,
        token_drop_rate=0.1,
        drop_path_rate=0.1,
        out_type="avg_featmap",
        final_norm=False,
    ),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=768,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=[dict(type="TruncNormal", layer="Linear", std=2e-5)],
    ),
)
