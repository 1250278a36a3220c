"""Indices of samples, checked."""

from typing import Any

import numpy as np


def check_indices(indices: Any, num_samples: int) -> np.ndarray:
    """Sample indices as int64 (n,); raises `IndexError` for one outside [0, num_samples)."""
    if isinstance(indices, slice):
        return np.arange(*indices.indices(num_samples))
    array = np.asarray(indices)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"indices are {array.dtype} of shape {array.shape}, expected a list of integers or a slice")
    if array.min() < 0 or array.max() >= num_samples:
        wrong = array[(array < 0) | (array >= num_samples)][0]
        raise IndexError(f"index {wrong} is out of range for {num_samples} samples")
    return array.astype(np.int64)
