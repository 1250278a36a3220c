"""SeiT's ViT-B, trained on ImageNet-1k by seit_vit-base-p16_8xb128-300e_in1k-tokens.py."""

_base_ = "./seit_vit-base-p16.py"

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/seit_vit-base-p16_8xb128-300e_in1k-tokens/epoch_300.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(init_cfg=encoder))
