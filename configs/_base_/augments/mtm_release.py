"""MTM pre-training as the release runs it, the default: half of each batch Token-RRC, half TokenAdapt; no colour.

The paper (C) says "geometric pixel-data augmentations using only the proposed TokenAdapt module" (mtm_paper.py). The
published numbers came from the release, so the recipes follow it. First half: Token-RRC. Second half: TokenAdapt with
flip, affine and crop. Nothing is mixed and no colour changes, since the network predicts pixel-level detail.
"""

_base_ = "./parts.py"

crop_of_map = dict(_base_.crop_of_map, scale=(0.2, 1.0))
augments = [
    dict(
        type="seitpp.SplitBatch",
        share=0.5,
        first=[dict(_base_.token_rrc, scale=(0.2, 1.0)), dict(type="seitpp.ToCodes")],
        second=[dict(augments=[*_base_.flip_and_affine, crop_of_map], **_base_.token_adapt_augment)],
    ),
]
