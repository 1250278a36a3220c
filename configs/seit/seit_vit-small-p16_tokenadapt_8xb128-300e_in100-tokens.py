"""SeiT with TokenAdapt and without ColorAdapt, ViT-S, ImageNet-100 tokens (SeiT++, Table 7).

    bash tools/dist_train.sh configs/seit/seit_vit-small-p16_tokenadapt_8xb128-300e_in100-tokens.py 8 --amp

Expect: not run here. The paper: 80.4 % top-1.
"""

_base_ = "../seitpp/seitpp_vit-small-p16_8xb128-300e_in100-tokens.py"

# SeiT's Emb-Noise in the place of Emb-Noise or ColorAdapt.
data_preprocessor = dict(
    augments=[_base_.token_eda, _base_.crop_or_token_adapt, _base_.emb_noise, _base_.cutmix_of_the_others]
)
