"""SeiT++ w/o MTM, ViT-S, ImageNet-100 as VQGAN codes (SeiT++, Table 8).

    bash tools/dist_train.sh configs/seitpp/seitpp_vit-small-p16_8xb128-300e_in100-vqgan-tokens.py 8 --amp

Expect: not run here. The paper: 83.9 % top-1.
Compare `accuracy/top1_origin`: after 36,900 steps the average still holds a fifth of the initial weights.
"""

_base_ = [
    "../_base_/models/seit_vit-small-p16.py",
    "../_base_/datasets/in100_vqgan-tokens.py",
    "../_base_/augments/seitpp_vqgan.py",
    "../_base_/schedules/seit_adamw_8xb128-300e.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(code_dim=4), head=dict(num_classes=_base_.num_classes))
data_preprocessor = dict(augments=_base_.augments, output="embeddings")
