"""SeiT++ on fine-grained sets (Sec. 4.2): image augmentations through TokenAdapt, and ColorAdapt alone.

The paper blames the distortions of Token-RRC and Emb-Noise for SeiT's scores there and names no pipeline for SeiT++.
Our reading: SeiT++ leaves both out. Order and rates of the rest are those of fine-tuning (mtm_finetune.py).
"""

_base_ = "./parts.py"

augments = [
    # ColorAdapt's rate of the release, without Emb-Noise beside it: in a quarter of the batches, half of the samples.
    dict(type="seitpp.OneOf", transforms=[_base_.color_adapt], probs=[0.25]),
    dict(
        type="seitpp.SplitBatch",
        share=0.5,
        first=[dict(type="seitpp.BatchCenterCrop", size=28), _base_.token_cutmix],
        second=[_base_.adapted],
    ),
]
