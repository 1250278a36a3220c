"""A wrapper that keeps only some samples of a data set."""

from typing import Any

import numpy as np

from seitpp.datasets.wrappers import WrappedDataset
from seitpp.registry import DATASETS
from seitpp.storage import choose_subset


@DATASETS.register_module()
class SubsetDataset(WrappedDataset):
    """Some samples of a data set, drawn from all alike; `TokenDataset` has the same as options of its own.

    Args:
        dataset: The data set, or its config.
        fraction: Share of its samples, in (0, 1]; or
        count: their number.
        seed: Seed of the draw.
        keep_length: Keep the length of the whole, repeating the samples evenly: an epoch then has as many iterations.
    """

    def __init__(
        self,
        dataset: Any,
        fraction: float | None = None,
        count: int | None = None,
        seed: int = 0,
        keep_length: bool = False,
    ) -> None:
        self.size, self.seed, self.keep_length = {"fraction": fraction, "count": count}, seed, keep_length
        super().__init__([dataset])

    def _prepare(self) -> int:
        length = super()._prepare()
        self.indices = choose_subset(length, None, 1, **self.size, class_balanced=False, seed=self.seed)
        return length if self.keep_length else len(self.indices)

    @property
    def metainfo(self) -> dict:
        return {**super().metainfo, "subset": {"num_samples": len(self.indices), "seed": self.seed}}

    @property
    def labels(self) -> np.ndarray | None:
        labels = super().labels
        return None if labels is None else labels[self.indices % len(labels)]  # fewer where its length is kept

    def _inner(self, indices: np.ndarray) -> np.ndarray:
        return self.indices[indices % len(self.indices)]
