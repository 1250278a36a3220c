"""Mean and deviation of each channel of tokens that are values and not codes, measured on a data set."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

_SAMPLES = 1024


def channel_moments(dataset: Any, channels: int) -> tuple[Tensor, Tensor]:
    """Measure `inputs` (B, H, W, channels) of up to 1024 evenly spaced samples, the same on every process.

    Returns:
        Mean and deviation, (channels,), float64; a constant channel has deviation 1.
    """
    indices = np.linspace(0, len(dataset) - 1, min(len(dataset), _SAMPLES)).astype(np.int64)
    values = dataset.__getitems__(indices)["inputs"]
    check_channels(values, channels)
    std, mean = torch.std_mean(values.flatten(0, -2).double(), dim=0, correction=0)
    return mean, torch.where(std > 0, std, 1.0)


def check_channels(tokens: Tensor, channels: int) -> None:
    """Raise `ValueError` unless tokens are (B, H, W, channels)."""
    if tokens.dim() != 4 or tokens.shape[-1] != channels:
        raise ValueError(
            f"tokens {tuple(tokens.shape)} do not fit: the data preprocessor, which has no codebook, expects "
            f"(B, H, W, {channels}); set its `channels` to what the store holds, or give it a codebook"
        )
