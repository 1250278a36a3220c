"""A drawn part of any data set, such as of images, with the length of the whole one where that is wanted."""

import numpy as np
from mmengine.dataset import BaseDataset

from seitpp.datasets.subset import choose_subset
from seitpp.datasets.wrappers import WrappedDataset
from seitpp.registry import DATASETS


@DATASETS.register_module()
class SubsetDataset(WrappedDataset):
    """Some samples of a data set; `TokenDataset` has the same as options of its own.

    Samples are drawn without regard to their classes.

    Args:
        dataset: Config of the data set, or the data set.
        fraction: Share of its samples, in (0, 1]; or
        count: their number.
        seed: Seed of the draw.
        keep_length: Keep the length of the whole, repeating the samples evenly: an epoch then has as many iterations.

    Attributes:
        places: Places of the samples in the data set, ascending.
    """

    def __init__(
        self,
        dataset: dict | BaseDataset,
        fraction: float | None = None,
        count: int | None = None,
        seed: int = 0,
        keep_length: bool = False,
    ) -> None:
        super().__init__([dataset])
        self.places = choose_subset(
            len(self.dataset), None, 1, fraction=fraction, count=count, class_balanced=False, seed=seed
        )
        self.keep_length = keep_length
        self._drawn = {"num_samples": len(self.places), "seed": seed}

    @property
    def dataset(self) -> BaseDataset:
        """The data set."""
        return self.datasets[0]

    @property
    def metainfo(self) -> dict:
        """That of the data set, and how many samples were drawn with which seed."""
        return {**super().metainfo, "subset": self._drawn}

    @property
    def labels(self) -> np.ndarray | None:
        """Class of each drawn sample, int64, or None."""
        labels = super().labels
        return None if labels is None else labels[self.places % len(labels)]  # fewer where its length is kept

    def __len__(self) -> int:
        return len(self.dataset) if self.keep_length else len(self.places)

    def _inner(self, indices: np.ndarray) -> np.ndarray:
        return self.places[indices % len(self.places)]
