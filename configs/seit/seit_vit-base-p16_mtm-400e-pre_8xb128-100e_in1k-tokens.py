"""Classifier fine-tuned from MTM with SeiT's augmentations (SeiT++, Table 2, SeiT w/ MTM, 1.4 GB).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py 8 --amp

Expect: not run here. The paper: 75.1 % top-1.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/augments/seit.py",
    "../_base_/schedules/finetune_adamw_8xb128-100e.py",
    "../_base_/default_runtime.py",
]

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/mtm_vit-base-p16_seit-aug_8xb512-400e_in1k-tokens/epoch_400.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(init_cfg=encoder))
data_preprocessor = dict(augments=_base_.augments, num_classes=1000)
default_hooks = dict(checkpoint=dict(save_best="accuracy/top1", rule="greater"))
