"""Augmentations of whole token batches, registered in TRANSFORMS; they run inside the data preprocessor."""

from seitpp.augment.base import BatchTransform
from seitpp.augment.compose import OneOf, RandomApply, SplitBatch, ToCodes
from seitpp.augment.embedding_ops import ColorAdapt, EmbNoise
from seitpp.augment.mixing import BatchCutMix, BatchMixup
from seitpp.augment.pixel_augment import PixelAugment
from seitpp.augment.spatial_transforms import (
    BatchCenterCrop,
    BatchRandomAffine,
    BatchRandomFlip,
    BatchRandomResizedCrop,
)
from seitpp.augment.token_adapt import TokenAdaptAugment
from seitpp.augment.token_ops import TokenEDA, TokenRRC

__all__ = [
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
