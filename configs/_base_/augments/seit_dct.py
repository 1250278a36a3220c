"""SeiT's pipeline for DCT coefficients: no Token-EDA, which is for codes; noise in units of a channel's deviation.

The paper names neither (Table 8); both are ours.
"""

_base_ = "./seit.py"

augments = [_base_.token_rrc, dict(_base_.emb_noise, relative=True), _base_.token_cutmix]
