"""SeiT w/o MTM, ViT-S, 60 % of ImageNet-100's tokens, as many iterations (SeiT++, Table 6, 76k images).

    bash tools/dist_train.sh configs/seitpp/seit_vit-small-p16_8xb128-300e_in100-tokens-60pct.py 8 --amp

Expect: not run here. The paper: 70.3 % top-1.
"""

_base_ = "seit_vit-small-p16_8xb128-300e_in100-tokens.py"

train_dataloader = dict(dataset=dict(subset=dict(fraction=0.6, class_balanced=False), keep_length=True))
