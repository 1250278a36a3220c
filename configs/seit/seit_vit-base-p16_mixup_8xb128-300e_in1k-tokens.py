"""SeiT with Mixup of the tokens' embeddings, ViT-B, ImageNet-1k tokens (SeiT++, Fig. 3b).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_mixup_8xb128-300e_in1k-tokens.py 8 --amp

Expect: not run here. The paper shows a bar, no number in its text.
Our reading of it: ..._flip_8xb128-300e_in1k-tokens.py.
"""

_base_ = "seit_vit-base-p16_8xb128-300e_in1k-tokens.py"

# DeiT's Mixup or CutMix in the place of CutMix alone.
data_preprocessor = dict(augments=[_base_.token_eda, _base_.token_rrc, _base_.emb_noise, _base_.mixup_or_cutmix])
