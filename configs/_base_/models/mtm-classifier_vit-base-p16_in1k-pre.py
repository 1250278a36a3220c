"""SeiT++'s ViT-B, trained on ImageNet-1k by seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py.

The paper does not say whether SeiT++ starts from MTM in transfer; its naming suggests so.
"""

_base_ = "./mtm-classifier_vit-base-p16.py"

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens/epoch_100.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(init_cfg=encoder))
