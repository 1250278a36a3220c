"""Linear probe of MTM's ViT-B with 1 % of ImageNet-1k's labels, equally many of each class, in smaller batches.

    bash tools/dist_train.sh configs/representations/linear_mtm_vit-base-p16_8xb128-90e_in1k-tokens-1pct.py 8 --amp

Expect: not run here; the paper reports none.
"""

_base_ = "linear_mtm_vit-base-p16_8xb2048-90e_in1k-tokens.py"

train_dataloader = dict(batch_size=128, dataset=dict(subset=dict(fraction=0.01, class_balanced=True, seed=0)))
# LARS moves the weights by the rate, whatever the gradients: few steps want no smaller ones.
auto_scale_lr = dict(base_batch_size=1024)
