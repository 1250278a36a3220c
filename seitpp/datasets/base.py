"""What the data sets share that fetch a whole batch at a time, and which stored sample each of their items is."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init


class Origins(NamedTuple):
    """Where the items of a data set come from.

    `sources` identify the stored data, such as content hashes; of each item, `which` is its source and `indices` its
    index there, (N,), int64.
    """

    sources: tuple[str, ...]
    which: np.ndarray
    indices: np.ndarray


def origins_of(dataset: Any) -> Origins | None:
    """Return the origins of a data set's items; None where it does not tell them."""
    return dataset.origins() if hasattr(dataset, "origins") else None


def common_numbers(first: Origins, second: Origins) -> tuple[np.ndarray, np.ndarray]:
    """Number the items of two data sets, (N,) and (M,), so that the same stored sample has the same number."""
    width = 1 + max((int(one.indices.max()) for one in (first, second) if len(one.indices)), default=0)
    numbers = {source: number for number, source in enumerate(dict.fromkeys(first.sources + second.sources))}
    return tuple(
        np.array([numbers[source] for source in one.sources], dtype=np.int64)[one.which] * width + one.indices
        for one in (first, second)
    )


def num_shared(first: Origins | None, second: Origins | None) -> int:
    """Count the distinct stored samples that two data sets have in common, as far as they tell."""
    if first is None or second is None or not set(first.sources) & set(second.sources):
        return 0
    return len(np.intersect1d(*common_numbers(first, second)))


class BatchedDataset(BaseDataset):
    """mmengine's `BaseDataset` over a `__getitems__` of the subclass, which also names its data in `store_path`.

    Args:
        metainfo: Overrides of what the data say of themselves, such as `classes`.
        data_root: Folder that paths are relative to.
        indices: The first n samples (last n if negative), or their indices.
        test_mode: mmengine's; changes nothing here.
        lazy_init: Whether to put off opening the files until `full_init`.
        pipeline: For mmpretrain's tools, which pass an empty one; must have no steps.
    """

    store_path: str

    def __init__(
        self,
        *,
        metainfo: dict | None = None,
        data_root: str = "",
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        pipeline: Sequence[dict] | None = None,
    ) -> None:
        if pipeline:
            raise ValueError(
                f"pipeline has {len(pipeline)} steps, and this data set fetches whole batches; leave it out, and name "
                "augmentations in data_preprocessor.augments"
            )
        super().__init__(
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={},
            indices=indices,
            serialize_data=False,
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    @property
    def CLASSES(self) -> list[str] | None:
        """Class names, by the name that mmpretrain's tools ask for."""
        return self.metainfo.get("classes")

    @property
    def metainfo(self) -> dict:
        """A copy of what is known of the data; opens them if need be."""
        self.full_init()
        return copy.deepcopy(self._metainfo)

    @force_full_init
    def __getitem__(self, idx: int) -> dict:
        if not -len(self) <= idx < len(self):
            raise IndexError(f"sample {idx} of a data set of {len(self)}")
        return {key: value[0] for key, value in self.__getitems__([idx % len(self)]).items()}

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the sample's class in a list, for samplers and wrappers that balance classes."""
        info = self.get_data_info(idx)
        if "gt_label" not in info:
            is_read = getattr(self, "with_labels", True)
            why = "has no labels" if is_read else "is read without labels (with_labels=False)"
            raise ValueError(f"{self.store_path} {why}, so its samples have no category")
        return [info["gt_label"]]
