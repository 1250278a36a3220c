"""SeiT's pipeline for the quickstart: crop, colour, CutMix.

No Token-EDA: of 4 x 4 codes a swapped block is a quarter of the image.
"""

_base_ = "./digits_parts.py"

augments = [_base_.token_rrc, _base_.emb_noise, _base_.rare_cutmix]
