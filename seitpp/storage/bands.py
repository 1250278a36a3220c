"""Locality-sensitive hashing of token grids by random positions: bands, their recall, and keys that collide.

A band is a random subset of k of the T positions of a grid. Two samples that differ at d positions agree on a band with
probability C(T - d, k) / C(T, k), so that at least one of B bands brings them together with probability
1 - (1 - C(T - d, k) / C(T, k))^B (bit sampling for the Hamming distance: Indyk and Motwani, STOC 1998).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_SIZES = (3, 4, 6, 8, 10, 12, 16, 20, 24, 32)  # positions of a band, from which one is chosen
_MOST_BANDS = 128
_TRIALS = 8  # bands on which crowding is estimated
_FEW, _MANY = 0.02, 0.5  # share of samples in crowded buckets: no larger bands are needed, larger ones surely help
_NO_BETTER = 0.8  # of the crowded share must go if larger bands are to be worth it
_SKETCH_POSITIONS = 64
_SKETCH_LOSS = 1e-6  # share of pairs within the distance that a sketch may reject


@dataclass(frozen=True)
class Bands:
    """`count` bands of `size` positions each, of grids of `num_positions`."""

    num_positions: int
    size: int
    count: int

    def recall(self, distance: int) -> float:
        """Return the probability that samples which differ at `distance` positions agree on at least one band."""
        agree = math.comb(self.num_positions - distance, self.size) / math.comb(self.num_positions, self.size)
        return 1 - (1 - agree) ** self.count


def choose_bands(
    tokens: np.ndarray,
    num_positions: int,
    num_samples: int,
    max_distance: int,
    recall: float,
    most_others: int,
    rng: np.random.Generator,
) -> Bands:
    """Choose the smallest bands that tell most samples apart, and as many as the recall at the distance needs.

    Args:
        tokens: Some of the samples, different ones, at some of the positions, (n, t), t at least 32 or all.
        num_positions: Positions of a grid, T.
        num_samples: Samples that there are.
        max_distance: Positions at which near-duplicates may differ.
        recall: To reach at this distance; with bands that are too large for it, as many as there may be are used.
        most_others: Samples beside it that a sample's bucket should hold at most.
        rng: Draws the bands on which this is tried.
    """
    chosen, before = None, 1.0
    for size in (size for size in _SIZES if size <= num_positions - max_distance):
        agree = math.comb(num_positions - max_distance, size) / math.comb(num_positions, size)
        needed = 1 if agree == 1 else math.ceil(math.log1p(-recall) / math.log1p(-agree))
        if chosen is not None and needed > _MOST_BANDS:
            break
        crowded = _crowded_share(tokens, size, most_others * len(tokens) / num_samples, rng)
        if _NO_BETTER * before < crowded < _MANY:  # what is left is a crowd of copies, which no band tells apart
            break
        chosen, before = Bands(num_positions, size, min(needed, _MOST_BANDS)), crowded
        if crowded <= _FEW:
            break
    return chosen or Bands(num_positions, 1, _MOST_BANDS)


def _crowded_share(tokens: np.ndarray, size: int, most_others: float, rng: np.random.Generator) -> float:
    """Return the share of samples that agree on a band with more than `most_others`, over some bands."""
    shares = []
    for keys in BandKeys(Bands(tokens.shape[1], size, _TRIALS), rng)(tokens, range(_TRIALS)):
        _, which, counts = np.unique(keys >> np.uint64(32), return_inverse=True, return_counts=True)
        shares.append((counts[which] - 1 > most_others).mean())
    return float(np.mean(shares))


class BandKeys:
    """Makes the key of each sample in each band, uint64.

    The upper 32 bits depend on the band's positions alone: those of samples that agree on it are equal. The lower 32
    depend on as many other positions: in a crowded bucket, similar samples stand beside each other when it is sorted.
    """

    def __init__(self, bands: Bands, rng: np.random.Generator) -> None:
        self.bands = bands
        both = min(2 * bands.size, bands.num_positions)
        self._positions = [rng.permutation(bands.num_positions)[:both] for _ in range(bands.count)]
        self._factors = [
            rng.integers(2**63, size=(both, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            for _ in range(bands.count)
        ]

    def __call__(self, tokens: np.ndarray, which: range) -> Iterator[np.ndarray]:
        """Yield for some of the bands the keys (n,) of tokens (n, T)."""
        columns, size, half = np.ascontiguousarray(tokens.T), self.bands.size, np.uint64(32)
        for band in which:
            products = columns[self._positions[band]] * self._factors[band]
            upper, lower = products[:size].sum(axis=0) >> half, products[size:].sum(axis=0) >> half
            yield (upper << half) | lower


class Sketches:
    """One byte for each of some positions of every sample: a pair that differs at too many is none.

    Args:
        num_samples: Samples that there will be.
        num_positions: Of a grid, T.
        max_distance: Largest distance of the pairs to keep; of them one in a million may be rejected.
        rng: Draws the positions.
    """

    def __init__(self, num_samples: int, num_positions: int, max_distance: int, rng: np.random.Generator) -> None:
        size = min(_SKETCH_POSITIONS, num_positions)
        self._positions = np.sort(rng.permutation(num_positions)[:size])
        self._most = _most_differences(num_positions, max_distance, size)
        self._bytes = np.zeros((num_samples, size), np.uint8)

    def set(self, rows: slice, tokens: np.ndarray) -> None:
        """Keep the sketches of some samples, by tokens (n, T)."""
        self._bytes[rows] = tokens[:, self._positions]  # modulo 256: different bytes are different tokens

    def may_be_near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return which pairs of samples, (m,) each, may be within the distance, (m,), bool."""
        return np.count_nonzero(self._bytes[first] != self._bytes[second], axis=1) <= self._most


def _most_differences(num_positions: int, distance: int, drawn: int) -> int:
    """Return how many of `drawn` positions may differ where `distance` of all do; one in a million has more."""
    total, left = math.comb(num_positions, drawn), 1.0
    for differences in range(drawn + 1):
        left -= math.comb(distance, differences) * math.comb(num_positions - distance, drawn - differences) / total
        if left <= _SKETCH_LOSS:
            return differences
    return drawn
