"""SeiT++ fine-tuned from ImageNet-1k to Stanford Cars with DeiT's recipe (SeiT++, Table 3).

    bash tools/dist_train.sh configs/seitpp/seitpp_vit-base-p16_in1k-pre_8xb96-1000e_stanford-cars-tokens.py 8 --amp

Expect: not run here. The paper: 86.9 % top-1.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-base-p16_in1k-pre.py",
    "../_base_/datasets/stanford-cars_tokens.py",
    "../_base_/augments/transfer_seitpp.py",
    "../_base_/schedules/transfer_sgd_8xb96-1000e.py",
    "../_base_/default_runtime.py",
]

# No stochastic depth, as DeiT's authors for small sets.
model = dict(backbone=dict(drop_path_rate=0.0), head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(batch_size=96)
data_preprocessor = dict(augments=_base_.augments)
# An epoch has few steps.
default_hooks = dict(checkpoint=dict(interval=50, save_best="accuracy/top1", rule="greater"))
