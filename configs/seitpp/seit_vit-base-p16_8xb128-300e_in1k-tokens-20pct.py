"""SeiT w/o MTM on 20 % of ImageNet-1k's tokens, as many iterations (Table 2, 0.3 GB).

    bash tools/dist_train.sh configs/seitpp/seit_vit-base-p16_8xb128-300e_in1k-tokens-20pct.py 8 --amp

Expect: not run here. The paper: 47.2 % top-1.
"""

_base_ = "seit_vit-base-p16_8xb128-300e_in1k-tokens.py"

train_dataloader = dict(dataset=dict(subset=dict(fraction=0.2, class_balanced=False), keep_length=True))
