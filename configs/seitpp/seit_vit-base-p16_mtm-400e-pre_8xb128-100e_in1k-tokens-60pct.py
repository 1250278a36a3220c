"""SeiT w/ MTM on 60 % of ImageNet-1k's tokens, as many iterations (Table 2, 0.8 GB).

    bash tools/dist_train.sh configs/seitpp/seit_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens-60pct.py 8 --amp

Expect: not run here. The paper: 70.6 % top-1.
"""

_base_ = "seit_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py"

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint="work_dirs/mtm_vit-base-p16_seit-aug_8xb512-400e_in1k-tokens-60pct/epoch_400.pth")
    )
)
train_dataloader = dict(dataset=dict(subset=dict(fraction=0.6, class_balanced=False), keep_length=True))
