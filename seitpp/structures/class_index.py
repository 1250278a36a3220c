"""A class label as libraries write it: an integer, or an array or tensor of one."""

from typing import Any

import numpy as np


def class_index(label: Any) -> int | None:
    """Return the index that a label is, such as `5`, `np.int64(5)` or `array([5])`.

    None for anything else. Lists are of labels: several classes, or numbers of other images.
    """
    if isinstance(label, (int, np.integer)):  # most are
        return None if isinstance(label, bool) else int(label)
    if isinstance(label, (str, bytes, dict, list, tuple)) or label is None:
        return None
    try:
        array = np.asarray(label)
    except (TypeError, ValueError, RuntimeError):  # such as a tensor on a GPU
        return None
    return int(array.reshape(())) if array.size == 1 and np.issubdtype(array.dtype, np.integer) else None
