"""Data sets of stored tokens and of images, fetched a batch at a time."""

from seitpp.datasets.base import common_numbers, num_shared, origins_of
from seitpp.datasets.image_dataset import ImageDataset
from seitpp.datasets.loading import WholeStepSampler, seed_worker
from seitpp.datasets.pixel_dataset import PixelDataset
from seitpp.datasets.resident import ResidentTokens, refuse_device
from seitpp.datasets.source_dataset import SourceDataset
from seitpp.datasets.subset import SubsetDataset
from seitpp.datasets.token_dataset import TokenDataset, identity_collate
from seitpp.datasets.token_seg_dataset import TokenSegDataset
from seitpp.datasets.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset

__all__ = [
    "ClassBalancedDataset",
    "ConcatDataset",
    "ImageDataset",
    "PixelDataset",
    "RepeatDataset",
    "ResidentTokens",
    "SourceDataset",
    "SubsetDataset",
    "TokenDataset",
    "TokenSegDataset",
    "WholeStepSampler",
    "common_numbers",
    "identity_collate",
    "num_shared",
    "origins_of",
    "refuse_device",
    "seed_worker",
]
