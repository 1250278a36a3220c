"""A data set of stored tokens: a token store, or the token files of the SeiT release read as they are."""

import copy
import hashlib
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init
from torch import Tensor

from seitpp.datasets.base import BatchedDataset, Origins
from seitpp.datasets.resident import load_resident
from seitpp.io.progress import progress_bar
from seitpp.io.text import shown
from seitpp.registry import DATASETS, FUNCTIONS
from seitpp.storage import SeitRelease, StoreReader, choose_subset, is_release
from seitpp.storage.tokenizer_entry import known_distance
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers.identity import settings_identity


@FUNCTIONS.register_module()
def identity_collate(batch: TokenBatch) -> TokenBatch:
    """Hand on the batch that `__getitems__` made; name it `dict(type="seitpp.identity_collate")`."""
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"identity_collate takes the one batch that a data set's __getitems__ makes, got a {type(batch).__name__}; "
            "a wrapper around the data set hides its __getitems__. Use seitpp.ConcatDataset, seitpp.RepeatDataset or "
            "seitpp.ClassBalancedDataset, or the data set's own `subset` and `keep_length`"
        )
    return batch


@DATASETS.register_module()
class TokenDataset(BatchedDataset):
    """Codes and labels, fetched a whole batch at a time (with `seitpp.identity_collate` and no workers).

    `metainfo` holds `classes`, `codebook_size`, `codebook_sha256`, `grid`, `content_hash`, what is known of the
    `tokenizer`, the `subset` (if one was drawn) with a hash of its indices, and `spatial`: False where tokens have no
    position in the image.

    Args:
        store: A token store (folder), or `NAME-token.data.bin.gz` of the release; relative to `data_root`.
        data_root: Folder that `store` and `label_file` are relative to.
        label_file: Labels of a release file, one per line; by default its `NAME-label.txt`.
        grid: Rows and columns of a release file's images; a store knows its own.
        codebook_size: Number of codes K of a release file (codes at or above it are an error); a store knows its own.
        subset: Options of `choose_subset`: one of `fraction`, `count`, `budget_bytes`; `class_balanced`, `seed`.
        keep_length: Keep the length of the full data set, repeating the subset's samples evenly, so that an epoch
            has as many iterations as on all data (the paper keeps the number of iterations when data shrink).
        with_labels: Whether batches carry labels. If not, labels are not read at all, and a subset is drawn from all
            samples alike unless it says `class_balanced=True`; self-supervised training needs none.
        device: Memory that holds the samples, bit-packed, loaded once in each process: `cpu`, `pinned` (page-locked) or
            `cuda` (no workers then); batches are made there. None reads them from disk.
        **options: Of `BatchedDataset`: `metainfo`, `indices`, `lazy_init` and so on.
    """

    def __init__(
        self,
        store: str,
        data_root: str = "",
        label_file: str | None = None,
        grid: Sequence[int] = (32, 32),
        codebook_size: int | None = None,
        subset: dict | None = None,
        keep_length: bool = False,
        with_labels: bool = True,
        device: str | None = None,
        **options: Any,
    ) -> None:
        self.store_path = osp.join(data_root, store) if data_root else store
        self.label_path = osp.join(data_root, label_file) if label_file and data_root else label_file
        self.grid = tuple(grid)
        self.codebook_size = codebook_size
        self.subset = copy.deepcopy(subset)
        self.keep_length = keep_length
        self.with_labels = with_labels
        self.device = device
        super().__init__(data_root=data_root, **options)

    def full_init(self) -> None:
        if self._fully_initialized:
            return
        self.reader = self._open()
        self._stored = self._apply_indices(np.arange(len(self.reader)))  # indices in the store
        self._full_length = len(self._stored)
        metadata = self._read_metadata()
        if self.subset is not None:
            metadata["subset"] = self._draw_subset()
        self._metainfo = {**metadata, **self._metainfo}
        labels = self.reader.labels if self.with_labels else None
        self._labels = None if labels is None else np.asarray(labels, dtype=np.int64)[self._stored]
        self._resident = None
        if self.device is not None:
            if self.is_release:
                raise ValueError(
                    f"{self.store_path} is a release, which is held in memory as it is; leave out "
                    f"device={self.device!r}, or import the release into a store (docs/data.md)"
                )
            self._resident = load_resident(self.reader, self._stored, self._labels, self.device)
        self._rows = np.arange(len(self._stored))  # of the samples among those held in memory
        self._fully_initialized = True

    def _read_metadata(self) -> dict[str, Any]:
        reader = self.reader
        metadata = {
            "classes": reader.classes,
            "codebook_size": reader.codebook_size,
            "codebook_sha256": reader.codebook_sha256,
            "grid": list(reader.grid),
            "channels": reader.channels,
            "content_hash": reader.stream_sha256 if self.is_release else reader.content_hash,
        }
        if self.is_release:
            return metadata
        tokenizer = reader.header["tokenizer"]
        known: dict[str, Any] = {"tokenizer": settings_identity(tokenizer), "distance": known_distance(tokenizer)}
        if tokenizer.get("spatial") is False:
            known["spatial"] = False
        return {**metadata, **{key: value for key, value in known.items() if value is not None}}

    def _draw_subset(self) -> dict[str, Any]:
        """Keep the samples of `subset`; return what is said of them in `metainfo`."""
        balanced = self.subset.get("class_balanced", self.with_labels and self.reader.labels is not None)
        classes = self.reader.labels if balanced else None
        if balanced and classes is None:
            raise ValueError(
                f"{self.store_path} has no labels, so a subset of it cannot be class_balanced; set "
                "class_balanced=False for one that is drawn from all samples alike"
            )
        options = {**self.subset, "class_balanced": balanced}
        labels = classes[self._stored] if balanced else None
        chosen = choose_subset(self._full_length, labels, self.reader.num_bytes / len(self.reader), **options)
        self._stored = self._stored[chosen]
        return {"seed": 0, **options, **self._describe_subset()}

    @property
    def is_release(self) -> bool:
        return is_release(self.store_path)

    def _open(self) -> StoreReader | SeitRelease:
        if not self.is_release:
            return self._open_store()
        if self.codebook_size is None:
            raise ValueError(
                f"{self.store_path} does not say how many codes there are; set codebook_size (391 for SeiT's tokens)"
            )
        release = SeitRelease(
            self.store_path,
            label_path=self.label_path,
            grid=self.grid,
            codebook_size=self.codebook_size,
            with_labels=self.with_labels or (self.subset or {}).get("class_balanced", False),
        )
        with progress_bar(f"decoding {self.store_path}") as progress:
            release.decode(progress)
        return release

    def _open_store(self) -> StoreReader:
        if self.label_path is not None:
            raise ValueError(f"{self.store_path} is a store and holds its own labels; leave out label_file")
        reader = StoreReader(self.store_path)
        if self.codebook_size not in (None, reader.codebook_size):
            raise ValueError(
                f"{self.store_path} has {reader.codebook_size} codes, codebook_size says {self.codebook_size}; leave "
                "it out, a store knows its own"
            )
        return reader

    def _apply_indices(self, stored: np.ndarray) -> np.ndarray:
        if self._indices is None:
            return stored
        if isinstance(self._indices, int):
            return stored[: self._indices] if self._indices >= 0 else stored[self._indices :]
        wanted, count = np.asarray(self._indices), len(stored)
        if not wanted.size:
            return stored[:0]
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or wanted.min() < -count or wanted.max() >= count:
            raise ValueError(
                f"{self.store_path}: indices are {shown(self._indices)}, expected a number of samples, or integers "
                f"from {-count} to {count - 1}"
            )
        return stored[wanted]

    @property
    @force_full_init
    def labels(self) -> np.ndarray | None:
        return self._labels

    @force_full_init
    def __len__(self) -> int:
        return self._full_length if self.keep_length else len(self._stored)

    @force_full_init
    def __getitems__(self, indices: Sequence[int]) -> TokenBatch:
        """Fetch a batch in one read: codes (B, H, W), indices (B,), and labels (B,) where there are any."""
        sample_idx = np.asarray(indices, dtype=np.int64)
        if (outside := (sample_idx < 0) | (sample_idx >= len(self))).any():
            raise IndexError(f"sample {sample_idx[outside][0]} of a data set of {len(self)}")
        samples = sample_idx % len(self._stored)  # beyond the subset only where `keep_length` repeats it
        tokens, labels = self._fetch(samples)
        batch: TokenBatch = {"inputs": tokens, "sample_idx": torch.from_numpy(sample_idx)}
        if labels is not None:
            batch["gt_label"] = labels
        return batch

    def _fetch(self, samples: np.ndarray) -> tuple[Tensor, Tensor | None]:
        if self._resident is not None:
            return self._resident.fetch(self._rows[samples])
        labels = None if self._labels is None else torch.from_numpy(self._labels[samples])
        return torch.from_numpy(self.reader.read(self._stored[samples])), labels

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        sample = idx % len(self) % len(self._stored)
        info = {"sample_idx": idx % len(self), "store_index": int(self._stored[sample])}
        return info if self._labels is None else {**info, "gt_label": int(self._labels[sample])}

    @force_full_init
    def origins(self) -> Origins:
        """Tell which stored sample each item is: its index in a store of that content."""
        stored = self._stored[np.arange(len(self)) % len(self._stored)]
        return Origins((self._metainfo["content_hash"],), np.zeros(len(self), dtype=np.int64), stored)

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep the first n samples (last n if negative), or those of the given indices."""
        self._indices = indices
        kept = self._apply_indices(np.arange(len(self._stored)))
        self._stored = self._stored[kept]
        self._labels = None if self._labels is None else self._labels[kept]
        self._rows = self._rows[kept]
        self._full_length = len(self._stored)
        self._metainfo["subset"] = {**(self._metainfo.get("subset") or {}), **self._describe_subset()}

    def _describe_subset(self) -> dict[str, Any]:
        digest = hashlib.sha256(self._stored.astype("<i8").tobytes()).hexdigest()
        return {"num_samples": len(self._stored), "indices_sha256": digest}

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> "TokenDataset":
        subset = copy.copy(self)
        subset._metainfo = copy.deepcopy(self._metainfo)
        subset.get_subset_(indices)
        return subset
