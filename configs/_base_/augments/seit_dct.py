"""SeiT's pipeline for DCT coefficients: no Token-EDA, which is for codes; noise in units of a channel's deviation."""

_base_ = "./seit.py"

augments = _base_.augments[1:]
augments[-1].relative = True
