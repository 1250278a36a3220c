"""SeiT fine-tuned from ImageNet-1k to Flowers-102 with DeiT's recipe (SeiT++, Table 3).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_in1k-pre_8xb96-1000e_flowers102-tokens.py 8 --amp

Expect: not run here. The paper: 93.5 % top-1.
"""

_base_ = [
    "../_base_/models/seit_vit-base-p16_in1k-pre.py",
    "../_base_/datasets/flowers102_tokens.py",
    "../_base_/augments/seit.py",
    "../_base_/schedules/transfer_sgd_8xb96-1000e.py",
    "../_base_/default_runtime.py",
]

# No stochastic depth, as DeiT's authors for small sets.
model = dict(backbone=dict(drop_path_rate=0.0), head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(batch_size=96)
token_eda = dict(_base_.token_eda, synonyms=_base_.data_root + "synonyms.json")
data_preprocessor = dict(augments=[token_eda, *_base_.on_embeddings], output="embeddings")
# An epoch has few steps.
default_hooks = dict(checkpoint=dict(interval=50, save_best="accuracy/top1", rule="greater"))
