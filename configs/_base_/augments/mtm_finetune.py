"""Fine-tuning an MTM encoder (SeiT++, C): half by Token-RRC and CutMix, half by TokenAdapt, then a colour change.

The network reads codes: the nearest ones to the embeddings that all this leaves.
"""

_base_ = "./parts.py"

augments = [
    dict(
        type="seitpp.SplitBatch",
        share=0.5,
        first=[
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
    _base_.colour_change,
]
