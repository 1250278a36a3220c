"""The samples of one or two stores as one series of token grids: reading, equal ones, and distances of pairs."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.source import TokenSource

_READ_PAIRS = 2**12  # that are read and compared at a time


class JoinedSamples:
    """The samples of one or two stores, numbered on, as grids of T tokens: channels of a position are one token."""

    def __init__(self, sources: Sequence[TokenSource]) -> None:
        self.sources, one = sources, sources[0]
        for name in ("grid", "channels", "minimum", "codebook_size", "codebook_sha256"):
            if len({getattr(source, name) for source in sources}) > 1:
                raise ValueError(
                    f"the two stores differ in {name}, {' and '.join(str(getattr(part, name)) for part in sources)}: "
                    "their tokens mean different things; compare stores of the same tokenizer"
                )
        self.num_positions = one.grid[0] * one.grid[1]
        self.starts = np.cumsum([0, *map(len, sources)])
        self._step = samples_at_a_time(int(np.prod(one.sample_shape)))
        channels = np.random.default_rng(0).integers(2**63, size=one.channels or 1, dtype=np.uint64)
        self._factors = channels * np.uint64(2) + np.uint64(1)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def is_second(self, numbers: np.ndarray) -> np.ndarray:
        return numbers >= self.starts[1]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Read samples as values (n, T, C)."""
        parts = np.empty((len(numbers), *self.sources[0].sample_shape), self.sources[0].dtype)
        for source, start in zip(self.sources, self.starts, strict=False):
            own = (numbers >= start) & (numbers < start + len(source))
            if own.any():
                parts[own] = source.read(numbers[own] - start)
        return parts.reshape(len(parts), self.num_positions, -1)

    def batches(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield tokens (n, T), uint64, and values (n, T, C), of ascending numbers, some thousand at a time."""
        for start in range(0, len(numbers), self._step):
            values = self.read(numbers[start : start + self._step])
            tokens = values.astype(np.uint64)
            yield (tokens[..., 0] if tokens.shape[2] == 1 else tokens @ self._factors), values

    def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Count the positions at which pairs of samples differ, (m,)."""
        distances = np.empty(len(first), np.int64)
        for start in range(0, len(first), _READ_PAIRS):
            piece = slice(start, start + _READ_PAIRS)
            numbers, where = np.unique(np.concatenate([first[piece], second[piece]]), return_inverse=True)
            values, half = self.read(numbers), len(first[piece])
            differ = values[where[:half]] != values[where[half:]]
            distances[piece] = np.count_nonzero(differ[..., 0] if differ.shape[2] == 1 else differ.any(axis=2), axis=1)
        return distances


def content_numbers(samples: JoinedSamples, done: Callable[[int], None]) -> np.ndarray:
    """Return a number for each sample (N,), int64: the same for those with the same tokens, and only for them.

    `done` is told how many more were read.
    """
    digests, start = np.empty((len(samples), 2), np.uint64), 0
    for _, values in samples.batches(np.arange(len(samples))):
        content = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in values.reshape(len(values), -1))
        digests[start : start + len(values)] = np.frombuffer(content, np.uint64).reshape(-1, 2)
        start += len(values)
        done(len(values))
    return first_equal_rows(digests)


def first_equal_rows(keys: np.ndarray) -> np.ndarray:
    """Return for each row of keys (N, 2) the first row that is equal (N,), int64."""
    order = np.lexsort(keys.T)  # stable: equal ones stay in order
    begins = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(axis=1)])
    first = np.empty(len(keys), np.int64)
    first[order] = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    return first
