"""SeiT (Park et al., 2023): Token-EDA on codes, then Token-RRC, Token-CutMix and Emb-Noise on their embeddings.

For a network that reads embeddings: output="embeddings" in the data preprocessor, and num_classes.
"""

_base_ = "./parts.py"

augments = [
    _base_.token_eda,
    dict(type="seitpp.TokenRRC", size=28, scale=(0.08, 1.0)),
    dict(type="seitpp.TokenCutMix", alpha=1.0),
    _base_.emb_noise,
]
