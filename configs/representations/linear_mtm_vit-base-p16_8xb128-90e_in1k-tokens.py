"""Linear probe of MTM's ViT-B in smaller batches, for few labels: 1 % or 10 % of them, equally many of each class.

    bash tools/dist_train.sh configs/representations/linear_mtm_vit-base-p16_8xb128-90e_in1k-tokens.py 8 --amp --label-fraction 0.01

Expect: not run here; the paper reports none.
"""  # noqa: E501

_base_ = "linear_mtm_vit-base-p16_8xb2048-90e_in1k-tokens.py"

train_dataloader = dict(batch_size=128)
# LARS moves the weights by the rate whatever the gradients, so that few steps need no smaller rate.
auto_scale_lr = dict(base_batch_size=1024)
