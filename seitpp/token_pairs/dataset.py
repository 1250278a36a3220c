"""A data set of prepared token pairs, from which TokenAdapt trains without a tokenizer."""

import os.path as osp
from collections.abc import Sequence

import numpy as np
import torch

from seitpp.datasets import refuse_device
from seitpp.registry import DATASETS
from seitpp.token_pairs.format import TokenPairReader


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
        header = self.reader.header
        self.metainfo = {
            key: header.get(key)
            for key in (
                "grid",
                "out_grid",
                "channels",
                "codebook_size",
                "codebook_sha256",
                "augments",
                "tokenizer",
                "num_pairs",
            )
        }

    def __len__(self) -> int:
        return self.reader.num_groups

    def __getitem__(self, group: int) -> dict:
        """One group as a batch."""
        return self.__getitems__([group])

    def __getitems__(self, groups: Sequence[int]) -> dict:
        """Groups as one batch; partners are counted within the batch."""
        sources, targets, draws = zip(*(self.reader.read_group(group) for group in groups), strict=True)
        starts = np.repeat(np.arange(len(groups)) * self.reader.group_size, self.reader.group_size)
        joined = []
        for parts in zip(*draws, strict=True):
            tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if "partner" in tensors:
                tensors["partner"] = tensors["partner"] + starts
            joined.append({name: torch.from_numpy(values) for name, values in tensors.items()})
        return {
            "inputs": torch.from_numpy(np.concatenate(sources)),
            "targets": torch.from_numpy(np.concatenate(targets)).long(),
            "draws": joined,
        }
