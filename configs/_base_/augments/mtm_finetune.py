"""Fine-tuning an MTM encoder: colour first, then half of each batch Token-RRC and CutMix, half TokenAdapt and mixing.

The paper (C) lists the parts and no order. Release: colours change on the whole batch, before anything is cropped, so
that TokenAdapt reads recoloured embeddings. The network reads the codes that are nearest to the result.
"""

_base_ = "./parts.py"

augments = [
    _base_.finetune_colour_change,
    dict(
        type="seitpp.SplitBatch",
        share=0.5,
        first=[_base_.token_rrc, _base_.token_cutmix],
        second=[_base_.adapted],
    ),
]
