"""MTM pre-training (SeiT++, C): half of each batch by Token-RRC, half by TokenAdapt with geometric augmentations.

No ColorAdapt and no mixing: the network predicts pixel-level detail.
"""

_base_ = "./parts.py"

augments = [
    dict(
        type="seitpp.SplitBatch",
        share=0.5,
        first=[dict(type="seitpp.TokenRRC", size=28, scale=(0.2, 1.0)), dict(type="seitpp.ToCodes")],
        second=[
            dict(
                augments=[
                    *_base_.flip_and_affine,
                    dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.2, 1.0)),
                ],
                **_base_.token_adapt_augment,
            ),
        ],
    )
]
