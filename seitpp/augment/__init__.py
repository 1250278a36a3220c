"""Augmentations of whole token batches, registered in TRANSFORMS; they run inside the data preprocessor."""

from seitpp.augment.affine import BatchRandomAffine, BatchRandomFlip
from seitpp.augment.base import Augmentation, BatchTransform, OneOf, RandomApply, SplitBatch, ToCodes
from seitpp.augment.colors import ColorAdapt, EmbNoise
from seitpp.augment.crops import BatchCenterCrop, BatchRandomResizedCrop, TokenRRC
from seitpp.augment.mixing import BatchCutMix, BatchMixup
from seitpp.augment.pixel_augment import PixelAugment
from seitpp.augment.token_adapt import TokenAdaptAugment
from seitpp.augment.token_eda import TokenEDA

__all__ = [
    "Augmentation",
    "BatchCenterCrop",
    "BatchCutMix",
    "BatchMixup",
    "BatchRandomAffine",
    "BatchRandomFlip",
    "BatchRandomResizedCrop",
    "BatchTransform",
    "ColorAdapt",
    "EmbNoise",
    "OneOf",
    "PixelAugment",
    "RandomApply",
    "SplitBatch",
    "ToCodes",
    "TokenAdaptAugment",
    "TokenEDA",
    "TokenRRC",
]
