"""Fine-tuning from MTM for MNIST's 7 x 7 codes: the digits' pipeline with MNIST's TokenAdapt."""

_base_ = "./mnist5k_seitpp.py"

augments = [
    _base_.colour_change,
    dict(type="seitpp.SplitBatch", share=0.5, first=[_base_.rare_cutmix], second=[_base_.adapted]),
]
