"""MTM pre-training by the paper's words (C): geometric augmentation through TokenAdapt alone, without Token-RRC.

"We apply geometric pixel-data augmentations using only the proposed TokenAdapt module": so all samples take TokenAdapt,
also those that the release sends through Token-RRC (mtm_release.py). The paper names no strengths; these are the
release's.
"""

_base_ = "./parts.py"

crop_of_map = dict(_base_.crop_of_map, scale=(0.2, 1.0))
augments = [dict(augments=[*_base_.flip_and_affine, crop_of_map], **_base_.token_adapt_augment)]
