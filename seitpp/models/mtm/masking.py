"""Which patches MTM hides: a ratio from a truncated normal, then masked and dropped patches by one random order.

The ratio is the paper's (SeiT++, Sec. 3.2). Dropped patches, a subset of the masked ones, leave the encoder's sequence;
the other masked ones stay in it as a learned vector, as in the authors' release after MAGE (Li et al., CVPR 2023). The
paper drops all of them.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class TruncatedNormalRatio:
    """Mask ratio from a normal distribution of `mean` and `std`, truncated to [low, high].

    Drawn by inverting the distribution function, so one uniform number makes one ratio. `low` is also the share of
    patches that is dropped from the encoder.
    """

    def __init__(self, mean: float = 0.45, std: float = 0.25, low: float = 0.4, high: float = 1.0) -> None:
        if not 0 < low <= high <= 1:
            raise ValueError(f"mask ratios must satisfy 0 < low <= high <= 1, got low={low}, high={high}")
        if std <= 0:
            raise ValueError(f"std must be positive, got {std}")
        self.mean_before_truncation, self.std, self.low, self.high = mean, std, low, high
        self._cdf_low, self._cdf_high = self._cdf(low), self._cdf(high)
        if low < high and self._cdf_high - self._cdf_low < 1e-12:
            raise ValueError(f"a normal with mean {mean} and std {std} has no weight in [{low}, {high}]")

    def _cdf(self, ratio: float) -> float:
        return 0.5 * math.erfc(-(ratio - self.mean_before_truncation) / (self.std * math.sqrt(2)))

    def from_uniform(self, uniform: float) -> float:
        """Return the ratio at quantile `uniform`, in [0, 1], of the distribution."""
        if self.low == self.high:
            return self.low
        share = self._cdf_low + uniform * (self._cdf_high - self._cdf_low)
        quantile = torch.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64)).item() * math.sqrt(2)
        return min(max(self.mean_before_truncation + self.std * quantile, self.low), self.high)

    def sample(self, generator: torch.Generator | None = None) -> float:
        """Draw one ratio, on the CPU, so that nothing waits for the device."""
        return self.from_uniform(torch.rand((), generator=generator, dtype=torch.float64).item())


class Masks(NamedTuple):
    """What is hidden in a batch; N patches per sample, of which M masked and N - R dropped.

    Attributes:
        mask: True where a patch is hidden, (B, N), bool.
        ids_keep: Positions of the R patches that enter the encoder, ascending, (B, R), int64.
        ids_mask: Positions of the M masked patches, ascending, (B, M), int64.
    """

    mask: Tensor
    ids_keep: Tensor
    ids_mask: Tensor


def count_patches(num_patches: int, ratio: float) -> int:
    """Return a ratio of the patches, rounded up (release)."""
    return math.ceil(num_patches * ratio)


def draw_masks(noise: Tensor, num_masked: int, num_dropped: int) -> Masks:
    """Mask the patches with the smallest noise (B, N), and drop those with the smallest of that."""
    if not 0 <= num_dropped <= num_masked <= noise.shape[1]:
        raise ValueError(f"need 0 <= dropped <= masked <= patches, got {num_dropped}, {num_masked}, {noise.shape[1]}")
    order = noise.argsort(dim=1, stable=True)  # ties by position, on every device alike
    ids_mask = order[:, :num_masked].sort(dim=1).values
    ids_keep = order[:, num_dropped:].sort(dim=1).values
    mask = torch.zeros(noise.shape, dtype=torch.bool, device=noise.device).scatter_(1, ids_mask, True)
    return Masks(mask, ids_keep, ids_mask)


def hashed_uniform(keys: Tensor, count: int, seed: int = 0) -> Tensor:
    """Make uniform numbers, a pure function of (seed, key, position): the same for any batch, order or rank.

    Validation must not depend on batching. Counter-based, after SplitMix64. Keys are non-negative integers (B,), such
    as indices in the data set; numbers (B, count) are float32 in [0, 1).
    """
    counter = keys[:, None].long() * count + torch.arange(count, device=keys.device)
    offset = (seed * 0xBF58476D1CE4E5B9 + 2**63) % 2**64 - 2**63  # wrapped to int64, as the tensor products are
    mixed = (counter + 1) * -0x61C8864680B583EB + offset
    mixed = (mixed ^ _shift_right(mixed, 30)) * -0x40A7B892E31B1A47
    mixed = (mixed ^ _shift_right(mixed, 27)) * -0x6B2FB644ECCEEE15
    mixed = mixed ^ _shift_right(mixed, 31)
    return _shift_right(mixed, 40).float() * 2.0**-24


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift int64 right logically; its own shift repeats the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
