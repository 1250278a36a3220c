"""Fine-tuning from MTM for the quickstart: colour first, then half of the samples plain, half through TokenAdapt."""

_base_ = "./digits_parts.py"

augments = [
    _base_.colour_change,
    dict(type="seitpp.SplitBatch", share=0.5, first=[_base_.rare_cutmix], second=[_base_.adapted]),
]
