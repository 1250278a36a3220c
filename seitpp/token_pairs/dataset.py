"""Stored token pairs as training data: their data set, and the data preprocessor that takes pairs or images."""

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.structures import DataSample

from seitpp.datasets import refuse_device
from seitpp.registry import DATASETS, MODELS
from seitpp.token_pairs.format import TokenPairReader

_METADATA = (
    *("grid", "out_grid", "channels", "codebook_size", "codebook_sha256"),
    *("augments", "tokenizer", "num_pairs"),
)


@DATASETS.register_module()
class TokenPairDataset:
    """Groups of pairs, as tools/make_token_pairs.py writes them; use `seitpp.identity_collate` and no workers.

    An item is a group, whose samples may have been mixed with each other: with groups of 32, a loader's `batch_size`
    of 4 makes batches of 128 pairs. A batch has `inputs`, tokens of images (B, H, W); `targets`, tokens of the
    augmented images (B, h, w); `draws`, for each augmentation tensors (B, ...) by name.

    Args:
        store: Folder of the pairs, relative to `data_root`.
        data_root: Folder that `store` is relative to.
        device: For configs that carry `TokenDataset`'s option over; must be None.
    """

    def __init__(self, store: str, data_root: str = "", device: str | None = None) -> None:
        refuse_device(device, "TokenPairDataset", "pairs are read from files, a group at a time")
        self.store_path = osp.join(data_root, store) if data_root else store
        self.reader = TokenPairReader(self.store_path)
        self.metainfo = {key: self.reader.header.get(key) for key in _METADATA}

    def __len__(self) -> int:
        return self.reader.num_groups

    def __getitem__(self, group: int) -> dict:
        return self.__getitems__([group])

    def __getitems__(self, groups: Sequence[int]) -> dict:
        """Return groups as one batch; partners are counted within the batch."""
        sources, targets, draws = zip(*(self.reader.read_group(group) for group in groups), strict=True)
        starts = np.repeat(np.arange(len(groups)) * self.reader.group_size, self.reader.group_size)
        joined = []
        for parts in zip(*draws, strict=True):
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if "partner" in arrays:
                arrays["partner"] = arrays["partner"] + starts
            joined.append({name: torch.from_numpy(values) for name, values in arrays.items()})
        return {
            "inputs": torch.from_numpy(np.concatenate(sources)),
            "targets": torch.from_numpy(np.concatenate(targets)).long(),
            "draws": joined,
        }


@MODELS.register_module()
class TokenPairDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor of images, which also moves batches of stored pairs to the device as they are.

    So one config validates on images whatever it trains on. Batches of `seitpp.ImageDataset`, bytes in `images`, are
    scaled by `mean` and `std` like any others; channels keep their order.
    """

    def __init__(self, non_blocking: bool = True, **kwargs: Any) -> None:
        super().__init__(non_blocking=non_blocking, **kwargs)

    def forward(self, data: Mapping, training: bool = False) -> dict:
        if "targets" in data:
            return self.cast_data(dict(data))
        if "images" not in data:
            return super().forward(data, training)
        samples = [DataSample(metainfo={"sample_idx": index}) for index in data["sample_idx"].tolist()]
        pixels = self.cast_data(data["images"]).float()
        if self._enable_normalize:
            pixels = (pixels - self.mean) / self.std
        return {"inputs": pixels, "data_samples": samples}
