"""mmengine's wrappers (concatenate, repeat, balance classes) for data sets that fetch a whole batch at a time.

They have the names and options of mmengine's, and also wrap data sets that are fetched sample by sample.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import ClassBalancedDataset as SampleBalancedDataset

from seitpp.datasets.base import Origins, origins_of
from seitpp.io.text import shown
from seitpp.registry import DATASETS
from seitpp.structures.class_names import class_difference

# Metadata that are each data set's own.
_OWN = ("content_hash", "images_sha256", "subset")


class WrappedDataset:
    """Data sets, or configs of them, in a row; each item is one of theirs, and these are numbered through all of them.

    `lazy_init` puts off opening them until `full_init`.
    """

    def __init__(self, datasets: Sequence[Any], lazy_init: bool = False) -> None:
        if not datasets:
            raise ValueError(f"{type(self).__name__} has no data set to wrap; give at least one")
        self.datasets = [DATASETS.build(one) if isinstance(one, dict) else one for one in datasets]
        self._ends: np.ndarray | None = None
        if not lazy_init:
            self.full_init()

    @property
    def dataset(self) -> Any:
        return self.datasets[0]

    def full_init(self) -> None:
        if self._ends is None:
            for dataset in self.datasets:
                if hasattr(dataset, "full_init"):
                    dataset.full_init()
            self._ends = np.cumsum([len(dataset) for dataset in self.datasets])
            self._length = self._prepare()

    def _prepare(self) -> int:
        """Return the number of items, once the data sets are open."""
        return int(self._ends[-1])

    def _inner(self, indices: np.ndarray) -> np.ndarray:
        """Number through all data sets of each item, (B,), int64."""
        return indices % self._ends[-1]

    def __len__(self) -> int:
        self.full_init()
        return self._length

    @property
    def metainfo(self) -> dict:
        return copy.deepcopy(dict(self.dataset.metainfo or {}))

    @property
    def store_path(self) -> str:
        return " + ".join(map(_name_of, self.datasets))

    @property
    def reader(self) -> Any:
        return self.dataset.reader

    @property
    def labels(self) -> np.ndarray | None:
        """Class of each distinct sample, int64; None where a data set has none."""
        self.full_init()
        labels = [getattr(dataset, "labels", None) for dataset in self.datasets]
        return None if any(part is None for part in labels) else np.concatenate(labels)

    @property
    def __getitems__(self) -> Callable[[Sequence[int]], dict[str, Any]]:
        """Fetch a batch as the data sets do; missing where one of them is fetched sample by sample."""
        if not all(hasattr(dataset, "__getitems__") for dataset in self.datasets):
            raise AttributeError(f"{self.store_path} is fetched sample by sample")
        return self._fetch

    def __getitem__(self, idx: int) -> Any:
        if hasattr(self, "__getitems__"):
            positive = idx + len(self) if -len(self) <= idx < 0 else idx
            return {key: value[0] for key, value in self._fetch([positive]).items()}
        dataset, inner = self._at(idx)
        return dataset[inner]

    def get_data_info(self, idx: int) -> dict:
        dataset, inner = self._at(idx)
        return dataset.get_data_info(inner)

    def get_cat_ids(self, idx: int) -> list[int]:
        dataset, inner = self._at(idx)
        return dataset.get_cat_ids(inner)

    def origins(self) -> Origins | None:
        """Tell which stored sample each item is; None where a data set does not tell."""
        self.full_init()
        found = [origins_of(dataset) for dataset in self.datasets]
        if any(one is None for one in found):
            return None
        starts = np.cumsum([0, *(len(one.sources) for one in found)])
        which = np.concatenate([one.which + start for one, start in zip(found, starts, strict=False)])
        indices = np.concatenate([one.indices for one in found])
        inner = self._inner(np.arange(len(self)))
        return Origins(tuple(source for one in found for source in one.sources), which[inner], indices[inner])

    def _at(self, idx: int) -> tuple[Any, int]:
        (part,), (inner,) = self._locate(np.array([idx]))
        return self.datasets[part], int(inner)

    def _locate(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the data sets of some items, by number, and the items' indices there."""
        wrong = (indices < 0) | (indices >= len(self))
        if wrong.any():
            raise IndexError(f"sample {indices[wrong][0]} of a data set of {len(self)}")
        inner = self._inner(indices)
        part = np.searchsorted(self._ends, inner, side="right")
        return part, inner - np.concatenate([[0], self._ends])[part]

    def _fetch(self, indices: Sequence[int]) -> dict[str, Any]:
        chosen = np.asarray(indices, dtype=np.int64)
        parts, inner = self._locate(chosen)
        rows = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        batches = [self.datasets[parts[some[0]]].__getitems__(inner[some].tolist()) for some in rows]
        batch = batches[0] if len(batches) == 1 else self._join(batches, np.argsort(np.concatenate(rows)))
        if "sample_idx" in batch:
            batch["sample_idx"] = torch.from_numpy(chosen)
        for sample, index in zip(batch.get("data_samples") or [], chosen.tolist(), strict=False):
            sample.set_metainfo({"sample_idx": index})
        return batch

    def _join(self, batches: list[dict[str, Any]], order: np.ndarray) -> dict[str, Any]:
        if any(set(batch) != set(batches[0]) for batch in batches):
            raise ValueError(f"{self.store_path}: some of these have labels and some do not; join data of one kind")
        joined = {}
        for key in batches[0]:
            values = [batch[key] for batch in batches]
            if isinstance(values[0], torch.Tensor):
                device = next((value.device for value in values if value.is_cuda), values[0].device)
                values = [value.to(device, non_blocking=True) for value in values]
                joined[key] = torch.cat(values)[torch.from_numpy(order).to(device, non_blocking=True)]
            else:
                every = [one for part in values for one in part]
                joined[key] = [every[index] for index in order]
        return joined


def _name_of(dataset: Any) -> str:
    return getattr(dataset, "store_path", type(dataset).__name__)


@DATASETS.register_module()
class ConcatDataset(WrappedDataset):
    """Data sets one after the other, of the same tokenizer, grid and classes.

    Keys of `metainfo` that may differ are those of `ignore_keys`, beside content hashes and subsets.
    """

    def __init__(
        self, datasets: Sequence[Any], lazy_init: bool = False, ignore_keys: str | Sequence[str] | None = None
    ) -> None:
        ignored = [ignore_keys] if isinstance(ignore_keys, str) else ignore_keys or []
        self.ignore_keys = {*ignored, *_OWN}
        super().__init__(datasets, lazy_init)

    def _prepare(self) -> int:
        known = dict(self.dataset.metainfo or {})
        for other in self.datasets[1:]:
            for key, value in (other.metainfo or {}).items():
                if key in self.ignore_keys or known.setdefault(key, value) == value:
                    continue
                if key == "classes" and known[key] is not None and value is not None:
                    difference = class_difference(known[key], value)
                else:
                    difference = f"{shown(value)}, not {shown(known[key])}"
                raise ValueError(
                    f"{_name_of(other)} has another {key} than {_name_of(self.dataset)}, and cannot be joined to it: "
                    f"{difference}"
                )
        return super()._prepare()

    @property
    def metainfo(self) -> dict:
        """What the data sets agree on, and in `parts` what is each one's own."""
        parts = [dict(dataset.metainfo or {}) for dataset in self.datasets]
        own = [{key: part[key] for key in _OWN if key in part} for part in parts]
        joined = {key: value for part in reversed(parts) for key, value in part.items() if key not in _OWN}
        return copy.deepcopy({**joined, "parts": own})


@DATASETS.register_module()
class RepeatDataset(WrappedDataset):
    """A data set several `times` in a row."""

    def __init__(self, dataset: Any, times: int, lazy_init: bool = False) -> None:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times is {times!r}, expected a positive whole number")
        self.times = times
        super().__init__([dataset], lazy_init)

    def _prepare(self) -> int:
        return super()._prepare() * self.times


@DATASETS.register_module()
class ClassBalancedDataset(WrappedDataset):
    """A data set in which samples of rare classes are repeated (Gupta et al., LVIS, 2019).

    A class with a share of the samples below `oversample_thr` is repeated by the root of `oversample_thr / share`.
    """

    def __init__(self, dataset: Any, oversample_thr: float, lazy_init: bool = False) -> None:
        self.oversample_thr = oversample_thr
        super().__init__([dataset], lazy_init)

    def _prepare(self) -> int:
        labels, count = self.labels, len(self.dataset)
        if labels is None or len(labels) != count:  # asked of each sample, one by one
            balanced = SampleBalancedDataset.__new__(SampleBalancedDataset)
            balanced.dataset = self.dataset
            factors = np.array(balanced._get_repeat_factors(self.dataset, self.oversample_thr))
        else:
            shares = np.bincount(labels) / count
            factors = np.maximum(1.0, np.sqrt(self.oversample_thr / shares[labels]))
        self._repeated = np.repeat(np.arange(count), np.ceil(factors).astype(np.int64))
        return len(self._repeated)

    def _inner(self, indices: np.ndarray) -> np.ndarray:
        return self._repeated[indices]
