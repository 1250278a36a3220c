"""mmseg's IoU scores, with the sizes of the label maps that they were measured on."""

from collections.abc import Sequence

import numpy as np
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from torch import Tensor

from seitpp.io.text import shorten
from seitpp.registry import METRICS


@METRICS.register_module()
class LabelSizeIoUMetric(IoUMetric):
    """`mmseg.IoUMetric` that logs the sizes of the label maps it compared, and may report each class.

    A prediction has the size of its sample's label map, so the store decides whether scores are at the training's size
    or at that of the original images.

    A class that occurs in no label is named in the log and counted in the result's `classes_without_labels`: its IoU
    is 0 where it is predicted, and it is left out of the mean where it is not, so the mean says nothing about it.

    Args:
        per_class: Whether the result has an entry `IoU/CLASS` for each class that occurs in labels or predictions, in
            percent; the log's table has all in any case.
        **kwargs: As for `mmseg.IoUMetric`.
    """

    def __init__(self, per_class: bool = False, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.per_class = per_class

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        known = len(self.results)
        super().process(data_batch, data_samples)
        if self.format_only:
            return
        sizes = [tuple(sample["gt_sem_seg"]["data"].shape[-2:]) for sample in data_samples]
        self.results[known:] = [(*areas, size) for areas, size in zip(self.results[known:], sizes, strict=True)]

    def compute_metrics(self, results: list) -> dict[str, float]:
        logger = MMLogger.get_current_instance()
        if not results:  # predictions are only written
            return super().compute_metrics(results)
        expected = (self.dataset_meta or {}).get("label_ignore_index", self.ignore_index)
        if self.ignore_index != expected:
            raise ValueError(
                f"ignore_index of the metric is {self.ignore_index}, but {expected} means ignore in the label maps; "
                "leave the option out"
            )
        logger.info(f"Scored at the size of the label maps: {_described([size for *_areas, size in results])}.")
        areas = [tuple(one) for *one, _size in results]
        intersect, union, _, labelled = (sum(part) for part in zip(*areas, strict=True))
        absent = self._count_absent(union, labelled)
        metrics = {name: float(value) for name, value in super().compute_metrics(areas).items()}
        if absent:
            metrics["classes_without_labels"] = absent
        if self.per_class:
            shares = 100 * (intersect / union).numpy()
            named = zip(self.dataset_meta["classes"], shares, strict=True)
            metrics.update({f"IoU/{name}": round(float(share), 2) for name, share in named if not np.isnan(share)})
        return metrics

    def _count_absent(self, union: Tensor, labelled: Tensor) -> int:
        """Count the classes that occur in no label, and log what becomes of them."""
        if not labelled.sum():
            raise ValueError(
                "no pixel of the label maps has a label: all mean ignore, so there is nothing to score; was the store "
                "made with the right --reduce-zero-label?"
            )
        names = list(self.dataset_meta["classes"])
        absent = [index for index, area in enumerate(labelled) if not area]
        if absent:
            left_out = sum(not union[index] for index in absent)
            MMLogger.get_current_instance().warning(
                f"{len(absent)} of {len(names)} classes are in no label: {shorten([names[i] for i in absent], 20)}. "
                f"{left_out} of them are not predicted either and are left out of the means; others count as 0."
            )
        return len(absent)


def _described(sizes: Sequence[tuple[int, int]]) -> str:
    different = sorted(set(sizes), key=lambda size: size[0] * size[1])
    smallest, largest = (f"{height} x {width}" for height, width in (different[0], different[-1]))
    return smallest if len(different) == 1 else f"{len(different)} sizes from {smallest} to {largest}"
