"""DeiT-B on pixels: ViT-B, patches of 16 x 16 of 224 x 224 pixels, read by its class token (SeiT takes the mean)."""

model = dict(
    type="mmpretrain.ImageClassifier",
    _scope_="mmpretrain",  # mmpretrain builds its own parts without a prefix
    backbone=dict(type="VisionTransformer", arch="deit-base", img_size=224, patch_size=16, drop_path_rate=0.1),
    head=dict(
        type="VisionTransformerClsHead",
        num_classes=1000,
        in_channels=768,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
    init_cfg=[
        dict(type="TruncNormal", layer="Linear", std=0.02),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
)
