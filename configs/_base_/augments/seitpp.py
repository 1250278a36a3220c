"""SeiT++ from scratch (C): SeiT's augmentations, or TokenAdapt with probability 0.5, then ColorAdapt.

Emb-Noise and ColorAdapt act on all samples with their own probabilities; Token-EDA belongs to SeiT's half, as the
paper's TokenAdapt takes the stored tokens. Mixing and the crop's scale are DeiT's.
For a network that reads embeddings: output="embeddings" in the data preprocessor, and num_classes.
"""

_base_ = "./parts.py"

augments = [
    dict(
        type="seitpp.SplitBatch",
        by="probability",
        share=0.5,
        first=[
            _base_.token_eda,
            dict(type="seitpp.TokenRRC", size=28, scale=(0.08, 1.0)),
            dict(type="seitpp.TokenCutMix", alpha=1.0),
        ],
        second=[
            dict(
                augments=[
                    *_base_.flip_and_affine,
                    dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.08, 1.0)),
                    _base_.mixup_or_cutmix,
                ],
                **_base_.token_adapt_augment,
            ),
        ],
    ),
    _base_.emb_noise,
    dict(type="seitpp.ColorAdapt", prob=0.25),
]
