"""The labels of any data set, of this package or of mmengine, mmpretrain and others, wrapped or not."""

import contextlib
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from seitpp.structures.class_index import class_index

_FIELDS = ("gt_label", "gt_score")  # of a sample in mmpretrain
_MOST_SAMPLES = 2_000_000  # of a data set whose labels are asked for one by one, at 2 microseconds each
_UNCOMPARED = np.zeros(0, np.int64)
_known: "WeakKeyDictionary[Any, np.ndarray | None]" = WeakKeyDictionary()


def labels_of(dataset: Any) -> np.ndarray | None:
    """Return the class of each distinct sample, (N,), int64.

    Returns:
        None where there are no labels. An empty array where there are some that are not one class per sample (several
        classes, numbers, indices of other images), or where the data set does not tell.
    """
    own = getattr(dataset, "labels", _UNCOMPARED)
    if isinstance(own, np.ndarray) and own is not _UNCOMPARED:
        return own if own.ndim == 1 and np.issubdtype(own.dtype, np.integer) else _UNCOMPARED
    if parts := _wrapped(dataset):
        found = [labels_of(part) for part in parts]
        if any(labels is None for labels in found):
            return None
        return _UNCOMPARED if any(not len(labels) for labels in found) else np.concatenate(found)
    if own is None:
        return None
    if not hasattr(dataset, "get_data_info") or len(dataset) > _MOST_SAMPLES:
        return _UNCOMPARED
    try:
        return _known[dataset]
    except (KeyError, TypeError):  # not asked before, or cannot be a key
        labels = _ask_each(dataset)
    with contextlib.suppress(TypeError):
        _known[dataset] = labels
    return labels


def _wrapped(dataset: Any) -> list[Any]:
    """Return the data sets within a wrapper of any library; none of a plain data set."""
    inner = getattr(dataset, "datasets", None) or getattr(dataset, "dataset", None)
    return list(inner) if isinstance(inner, (list, tuple)) else [] if inner is None else [inner]


def _ask_each(dataset: Any) -> np.ndarray | None:
    labels = np.zeros(len(dataset), np.int64)
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        if all(info.get(field) is None for field in _FIELDS):
            return None
        if (label := class_index(info.get("gt_label"))) is None:
            return _UNCOMPARED
        labels[number] = label
    return labels
