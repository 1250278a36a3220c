"""SeiT++'s pipelines for the quickstart: half of the samples plain, half through TokenAdapt, then a colour change."""

_base_ = "./digits_seit.py"

augments = [
    dict(
        type="seitpp.SplitBatch",
        share=0.5,
        first=[_base_.rare_cutmix],
        second=[
            dict(
                augments=[
                    *_base_.geometry,
                    dict(
                        type="seitpp.OneOf",
                        transforms=[
                            dict(type="seitpp.BatchMixup", alpha=0.8),
                            dict(type="seitpp.BatchCutMix", alpha=1.0),
                        ],
                        probs=[0.1, 0.1],
                    ),
                ],
                **_base_.token_adapt_augment,
            ),
        ],
    ),
    dict(
        type="seitpp.OneOf",
        transforms=[
            dict(_base_.emb_noise, prob=0.5),
            dict(type="seitpp.ColorAdapt", prob=0.25),
        ],
        probs=[0.3, 0.1],
    ),
]
