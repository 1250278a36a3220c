"""SeiT's pipeline for the quickstart, each change rarer or weaker: so few steps and codes have room for little.

No Token-EDA: of 4 x 4 codes a swapped block is a quarter of the image.
"""

_base_ = "./digits_parts.py"

rare_cutmix = dict(type="seitpp.RandomApply", transforms=dict(type="seitpp.TokenCutMix", alpha=1.0), prob=0.2)
# Codes are pixels in [0, 1] here.
emb_noise = dict(type="seitpp.EmbNoise", std=0.05, channel_std=0.05, prob=0.15)
augments = [dict(type="seitpp.TokenRRC", size=4, scale=(0.6, 1.0)), rare_cutmix, emb_noise]
