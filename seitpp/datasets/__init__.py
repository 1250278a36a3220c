"""Data sets of stored tokens and of images, fetched a batch at a time."""

from seitpp.datasets.collate import identity_collate
from seitpp.datasets.image_dataset import ImageDataset
from seitpp.datasets.samplers import WholeStepSampler
from seitpp.datasets.subset import choose_subset
from seitpp.datasets.subset_dataset import SubsetDataset
from seitpp.datasets.token_dataset import TokenDataset
from seitpp.datasets.token_seg_dataset import TokenSegDataset
from seitpp.datasets.worker_seed import seed_worker
from seitpp.datasets.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset

__all__ = [
    "ClassBalancedDataset",
    "ConcatDataset",
    "ImageDataset",
    "RepeatDataset",
    "SubsetDataset",
    "TokenDataset",
    "TokenSegDataset",
    "WholeStepSampler",
    "choose_subset",
    "identity_collate",
    "seed_worker",
]
