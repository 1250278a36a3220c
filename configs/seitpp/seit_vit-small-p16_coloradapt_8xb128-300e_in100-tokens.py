"""SeiT with ColorAdapt and without TokenAdapt, ViT-S, ImageNet-100 tokens (SeiT++, Table 7).

    bash tools/dist_train.sh configs/seitpp/seit_vit-small-p16_coloradapt_8xb128-300e_in100-tokens.py 8 --amp

Expect: not run here. The paper: 78.3 % top-1.
"""

_base_ = "seit_vit-small-p16_8xb128-300e_in100-tokens.py"

data_preprocessor = dict(augments=[*_base_.augments, dict(type="seitpp.ColorAdapt", prob=0.25)])
