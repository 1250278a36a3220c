"""SeiT's pipeline for the OpenImages VQGAN's codes."""

_base_ = "./seit.py"

augments = _base_.augments
augments[0].synonyms = "data/imagenet100-vqgan-tokens/synonyms.json"
