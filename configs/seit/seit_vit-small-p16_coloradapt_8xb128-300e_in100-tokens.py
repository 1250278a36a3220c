"""SeiT with ColorAdapt and without TokenAdapt, ViT-S, ImageNet-100 tokens (SeiT++, Table 7).

    bash tools/dist_train.sh configs/seit/seit_vit-small-p16_coloradapt_8xb128-300e_in100-tokens.py 8 --amp

Expect: not run here. The paper: 78.3 % top-1.
"""

_base_ = "seit_vit-small-p16_8xb128-300e_in100-tokens.py"

# SeiT++'s colour change in the place of Emb-Noise.
data_preprocessor = dict(augments=[_base_.token_eda, _base_.token_rrc, _base_.colour_change, _base_.token_cutmix])
