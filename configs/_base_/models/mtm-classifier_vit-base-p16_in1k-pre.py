"""SeiT++'s ViT-B, by seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py.

The paper does not say whether SeiT++ starts from MTM in transfer; by its own naming it does.
"""

_base_ = "./mtm-classifier_vit-base-p16.py"

model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="work_dirs/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens/epoch_100.pth",
            prefix="backbone.",
        ),
    ),
)
