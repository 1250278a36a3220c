"""SeiT's pipeline for MNIST's 7 x 7 codes: the digits' one at their size."""

_base_ = "./digits_seit.py"

augments = [dict(_base_.token_rrc, size=7), _base_.emb_noise, _base_.rare_cutmix]
