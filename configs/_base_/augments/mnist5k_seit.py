"""SeiT's pipeline for MNIST's 7 x 7 codes: the digits' one at their size."""

_base_ = "./digits_seit.py"

augments = _base_.augments
augments[0]["size"] = 7
