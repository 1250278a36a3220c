"""SeiT's pipeline for the quickstart: crop, colour, CutMix.

No Token-EDA: of 4 x 4 codes a swapped block is a quarter of the image.
"""

_base_ = "./digits_parts.py"

augments = [dict(type="seitpp.TokenRRC", size=4, scale=(0.6, 1.0)), _base_.emb_noise, _base_.rare_cutmix]
