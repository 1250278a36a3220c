"""What data sets share that fetch a whole batch at a time: a sample is a batch of one."""

from collections.abc import Sequence

from mmengine.dataset import BaseDataset, force_full_init


class BatchedDataset(BaseDataset):
    """mmengine's `BaseDataset` over a `__getitems__` of the subclass, which also names its data in `store_path`."""

    store_path: str

    @property
    def CLASSES(self) -> list[str] | None:
        """Class names, by the name that mmpretrain's tools ask for."""
        return self.metainfo.get("classes")

    @staticmethod
    def _check_pipeline(pipeline: Sequence[dict] | None) -> None:
        """mmpretrain's tools pass an empty one; steps for single samples have no place where batches are fetched."""
        if pipeline:
            raise ValueError(
                f"pipeline has {len(pipeline)} steps, and this data set fetches whole batches; leave it out, and name "
                "augmentations in data_preprocessor.augments"
            )

    @force_full_init
    def __getitem__(self, idx: int) -> dict:
        """One sample, as the batch of one that it is; loaders fetch through `__getitems__`."""
        if not -len(self) <= idx < len(self):
            raise IndexError(f"sample {idx} of a data set of {len(self)}")
        return {key: value[0] for key, value in self.__getitems__([idx % len(self)]).items()}

    def get_cat_ids(self, idx: int) -> list[int]:
        """The sample's class in a list, for samplers and wrappers that balance classes."""
        info = self.get_data_info(idx)
        if "gt_label" not in info:
            told = getattr(self, "with_labels", True)
            why = "has no labels" if told else "is read without labels (with_labels=False)"
            raise ValueError(f"{self.store_path} {why}, so its samples have no category")
        return [info["gt_label"]]
