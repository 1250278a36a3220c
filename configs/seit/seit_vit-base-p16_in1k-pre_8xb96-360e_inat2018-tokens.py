"""SeiT fine-tuned from ImageNet-1k to iNaturalist 2018 with DeiT's recipe (SeiT++, Table 3).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_in1k-pre_8xb96-360e_inat2018-tokens.py 8 --amp

Expect: not run here. The paper: 43.1 % top-1.
"""

_base_ = [
    "../_base_/models/seit_vit-base-p16_in1k-pre.py",
    "../_base_/datasets/inat2018_tokens.py",
    "../_base_/augments/seit.py",
    "../_base_/schedules/transfer_adamw_8xb96-360e.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(batch_size=96)
token_eda = dict(_base_.token_eda, synonyms=_base_.data_root + "synonyms.json")
data_preprocessor = dict(augments=[token_eda, *_base_.on_embeddings], output="embeddings")
default_hooks = dict(checkpoint=dict(save_best="accuracy/top1", rule="greater"))
