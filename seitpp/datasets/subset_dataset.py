"""A drawn part of any data set, such as of images, with the length of the whole one where that is wanted."""

from typing import Any

from mmengine.dataset import BaseDataset

from seitpp.datasets.subset import choose_subset
from seitpp.registry import DATASETS


@DATASETS.register_module()
class SubsetDataset:
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
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.dataset.full_init()
        self.places = choose_subset(
            len(self.dataset), None, 1, fraction=fraction, count=count, class_balanced=False, seed=seed
        )
        self.keep_length = keep_length
        self._drawn = {"num_samples": len(self.places), "seed": seed}

    @property
    def metainfo(self) -> dict:
        """That of the data set, and how many samples were drawn with which seed."""
        return {**(self.dataset.metainfo or {}), "subset": self._drawn}

    def full_init(self) -> None:
        """Nothing is left to do; wrappers ask for it."""

    def __len__(self) -> int:
        return len(self.dataset) if self.keep_length else len(self.places)

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a data set of {len(self)}")
        return int(self.places[index % len(self.places)])

    def get_data_info(self, idx: int) -> dict:
        """What the data set knows of a sample."""
        return self.dataset.get_data_info(self._place(idx))

    def __getitem__(self, idx: int) -> Any:
        return self.dataset[self._place(idx)]
