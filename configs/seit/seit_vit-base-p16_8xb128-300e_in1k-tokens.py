"""SeiT from scratch, ViT-B, ImageNet-1k tokens (SeiT++, Table 2, SeiT w/o MTM, 1.4 GB).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_8xb128-300e_in1k-tokens.py 8 --amp

Expect: not run here. The paper: 74.0 % top-1; compare `accuracy/top1_origin`, the raw weights.
Needs synonyms: tools/build_synonyms.py, or the release's file.
"""

_base_ = [
    "../_base_/models/seit_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/augments/seit.py",
    "../_base_/schedules/seit_adamw_8xb128-300e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(augments=_base_.augments, num_classes=1000, output="embeddings")
default_hooks = dict(checkpoint=dict(save_best="accuracy/top1", rule="greater"))
