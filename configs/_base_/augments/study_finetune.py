"""Fine-tuning from MTM for the study's 7 x 7 codes: colour first, then half of the samples through TokenAdapt."""

_base_ = "./study_seitpp.py"

augments = [
    _base_.colour_change,
    dict(type="seitpp.SplitBatch", share=0.5, first=[_base_.rare_cutmix], second=[_base_.adapted]),
]
