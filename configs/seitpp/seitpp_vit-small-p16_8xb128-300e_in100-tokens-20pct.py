"""SeiT++ w/o MTM, ViT-S, 20 % of ImageNet-100's tokens, as many iterations (SeiT++, Table 6, 25k images).

    bash tools/dist_train.sh configs/seitpp/seitpp_vit-small-p16_8xb128-300e_in100-tokens-20pct.py 8 --amp

Expect: not run here. The paper: 61.6 % top-1.
"""

_base_ = "seitpp_vit-small-p16_8xb128-300e_in100-tokens.py"

train_dataloader = dict(dataset=dict(subset=dict(fraction=0.2, class_balanced=False), keep_length=True))
