"""MTM pre-training on 60 % of ImageNet-1k's tokens, as many iterations (Table 2, SeiT++ w/ MTM, 0.8 GB).

    bash tools/dist_train.sh configs/seitpp/mtm_vit-base-p16_8xb512-400e_in1k-tokens-60pct.py 8 --amp

Expect: not run here; the paper reports no pre-training score.
"""

_base_ = "mtm_vit-base-p16_8xb512-400e_in1k-tokens.py"

train_dataloader = dict(dataset=dict(subset=dict(fraction=0.6, class_balanced=False), keep_length=True))
