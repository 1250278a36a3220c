"""MTM pre-training by the paper's words (C): geometric augmentation through TokenAdapt alone, without Token-RRC.

"We apply geometric pixel-data augmentations using only the proposed TokenAdapt module"; of the samples that the
release sends through Token-RRC instead (mtm_release.py) the paper does not speak, so all of them take TokenAdapt here.
The paper names no strengths: these are the release's.
"""

_base_ = "./parts.py"

augments = [
    dict(
        augments=[
            *_base_.flip_and_affine,
            dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.2, 1.0)),
        ],
        **_base_.token_adapt_augment,
    ),
]
