"""SeiT++ on fine-grained sets (Sec. 4.2): image augmentations through TokenAdapt and ColorAdapt alone.

The paper finds Token-RRC's and Emb-Noise's distortions harmful there and names no pipeline: this is seitpp.py without
what acts on the embeddings directly, but for mixing.
"""

_base_ = "./parts.py"

augments = [
    dict(
        type="seitpp.SplitBatch",
        by="probability",
        share=0.5,
        first=[dict(type="seitpp.BatchCenterCrop", size=28), dict(type="seitpp.TokenCutMix", alpha=1.0)],
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
    dict(type="seitpp.ColorAdapt", prob=0.25),
]
