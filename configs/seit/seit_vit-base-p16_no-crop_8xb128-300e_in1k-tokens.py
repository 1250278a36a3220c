"""SeiT without crops of the tokens' embeddings, ViT-B, ImageNet-1k tokens (SeiT++, Fig. 3b).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_no-crop_8xb128-300e_in1k-tokens.py 8 --amp

Expect: not run here. The paper shows a bar of crops, no number in its text; with them it is SeiT's own recipe.
Our reading of it: ..._flip_8xb128-300e_in1k-tokens.py.
"""

_base_ = "seit_vit-base-p16_8xb128-300e_in1k-tokens.py"

centre_crop = dict(type="seitpp.BatchCenterCrop", size=28)  # in the place of Token-RRC
data_preprocessor = dict(augments=[_base_.token_eda, centre_crop, _base_.emb_noise, _base_.token_cutmix])
