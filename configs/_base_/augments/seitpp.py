"""SeiT++ from scratch (C): SeiT's pipeline, in which half of the samples take TokenAdapt in place of Token-RRC.

Paper: SeiT's augmentations, TokenAdapt with probability 0.5, and ColorAdapt; DeiT's strengths. The release's script
from scratch has no TokenAdapt; its order (Token-EDA, crop, colour, CutMix) and its rates are kept, and each sample is
sent through TokenAdapt, where it is cropped and mixed, by a draw of its own. That TokenAdapt reads what Token-EDA
leaves, and that colours change after it, is our reading.
For a network that reads embeddings: output="embeddings" in the data preprocessor, and num_classes.
"""

_base_ = "./parts.py"

crop_or_token_adapt = dict(
    type="seitpp.SplitBatch",
    by="probability",
    share=0.5,
    first=[_base_.token_rrc],
    second=[_base_.adapted],
)
# TokenAdapt's samples are mixed already.
cutmix_of_the_others = dict(type="seitpp.SplitBatch", by="same", first=[_base_.token_cutmix], second=[])
on_embeddings = [crop_or_token_adapt, _base_.colour_change, cutmix_of_the_others]
augments = [_base_.token_eda, *on_embeddings]
