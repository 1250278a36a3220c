"""MTM pre-training by the paper's words (C): geometric augmentation through TokenAdapt alone, without Token-RRC.

"We apply geometric pixel-data augmentations using only the proposed TokenAdapt module"; of the samples that the
release sends through Token-RRC instead (mtm_release.py) the paper does not speak, so all of them take TokenAdapt here.
The paper names no strengths: these are the release's.
"""

_base_ = "./parts.py"

crop_of_map = dict(_base_.crop_of_map, scale=(0.2, 1.0))
augments = [dict(augments=[*_base_.flip_and_affine, crop_of_map], **_base_.token_adapt_augment)]
