"""SeiT's pipeline for DCT coefficients: no Token-EDA, which is for codes; noise in units of a channel's deviation.

Both are ours; the paper does not describe the pipeline of Table 8.
"""

_base_ = "./seit.py"

augments = [_base_.token_rrc, dict(_base_.emb_noise, relative=True), _base_.token_cutmix]
