"""SeiT (Park et al., 2023): Token-EDA on codes, then Token-RRC, Emb-Noise and Token-CutMix on their embeddings.

In the release's order: crop, colour, CutMix. The papers name CutMix before Emb-Noise.
For a network that reads embeddings: output="embeddings" in the data preprocessor, and num_classes.
"""

_base_ = "./parts.py"

on_embeddings = [_base_.token_rrc, _base_.emb_noise, _base_.token_cutmix]
augments = [_base_.token_eda, *on_embeddings]
