"""MTM pre-training with SeiT's augmentation alone, Token-RRC (SeiT++, Table 2, for `SeiT w/ MTM`).

    bash tools/dist_train.sh configs/mtm/mtm_vit-base-p16_seit-aug_8xb512-400e_in1k-tokens.py 8 --amp

Expect: not run here; the paper reports no pre-training score.
"""

_base_ = "mtm_vit-base-p16_8xb512-400e_in1k-tokens.py"

data_preprocessor = dict(augments=[dict(type="seitpp.TokenRRC", size=28, scale=(0.2, 1.0))])
