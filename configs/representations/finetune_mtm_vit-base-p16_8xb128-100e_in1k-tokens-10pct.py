"""Classifier fine-tuned from MTM with 10 % of ImageNet-1k's labels, equally many of each class.

    bash tools/dist_train.sh configs/representations/finetune_mtm_vit-base-p16_8xb128-100e_in1k-tokens-10pct.py 8 --amp

Expect: not run here; the paper reports none. MTM may have seen all images.
"""

_base_ = "../seitpp/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py"

train_dataloader = dict(dataset=dict(subset=dict(fraction=0.1, class_balanced=True, seed=0)))
