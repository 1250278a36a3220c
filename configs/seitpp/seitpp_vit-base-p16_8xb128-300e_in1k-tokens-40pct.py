"""SeiT++ w/o MTM on 40 % of ImageNet-1k's tokens, as many iterations (Table 2, 0.5 GB).

    bash tools/dist_train.sh configs/seitpp/seitpp_vit-base-p16_8xb128-300e_in1k-tokens-40pct.py 8 --amp

Expect: not run here. The paper: 63.8 % top-1.
"""

_base_ = "seitpp_vit-base-p16_8xb128-300e_in1k-tokens.py"

train_dataloader = dict(dataset=dict(subset=dict(fraction=0.4, class_balanced=False), keep_length=True))
