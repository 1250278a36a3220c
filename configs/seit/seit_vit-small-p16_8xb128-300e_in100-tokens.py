"""SeiT from scratch, ViT-S, ImageNet-100 tokens (SeiT++, Table 6, 127k images; Table 7 and 8, baseline).

    bash tools/dist_train.sh configs/seit/seit_vit-small-p16_8xb128-300e_in100-tokens.py 8 --amp

Expect: not run here. The paper: 77.3 % top-1.
Compare `accuracy/top1_origin`: after 36,900 steps the average still holds a fifth of the initial weights.
"""

_base_ = [
    "../_base_/models/seit_vit-small-p16.py",
    "../_base_/datasets/in100_tokens.py",
    "../_base_/augments/seit.py",
    "../_base_/schedules/seit_adamw_8xb128-300e.py",
    "../_base_/default_runtime.py",
]

token_eda = dict(_base_.token_eda, synonyms=_base_.data_root + "synonyms.json")
model = dict(head=dict(num_classes=_base_.num_classes))
data_preprocessor = dict(augments=[token_eda, *_base_.on_embeddings], output="embeddings")
