"""How often each code of a store occurs, and where."""

from dataclasses import dataclass

import numpy as np

from seitpp.storage.header import Progress
from seitpp.storage.source import TokenSource
from seitpp.storage.stats import entropy_bits, stored_codes


@dataclass(frozen=True, eq=False)
class CodeUsage:
    """Counts of codes.

    Attributes:
        counts: Of each code, in each channel of a position, (C, K), int64; C is 1 for plain codes.
        examples: Samples in which a code occurs, and the positions on their grid, (K, n, 2), int64; -1 where there are
            fewer. Those of one code are of different samples. None with channels.
    """

    counts: np.ndarray
    examples: np.ndarray | None

    @property
    def num_used(self) -> int:
        return int((self.counts.sum(axis=0) > 0).sum())

    @property
    def entropy(self) -> float:
        """Mean over the channels of the entropy of order 0, bits per code."""
        return float(np.mean([entropy_bits(row) for row in self.counts]))

    @property
    def perplexity(self) -> float:
        """Number of codes that, equally frequent, would have the same entropy."""
        return 2**self.entropy


def count_codes(source: TokenSource, num_examples: int = 3, progress: Progress | None = None) -> CodeUsage:
    """Count the codes of a store in one pass over it, and keep some samples in which each occurs, the first ones."""
    num_channels, size = source.channels or 1, source.codebook_size
    counts, done = np.zeros((num_channels, size), np.int64), 0
    kept, examples = np.zeros(size, np.int64), np.full((size, num_examples, 2), -1)
    for batch in source.iter_batches():
        codes = stored_codes(batch, source).reshape(len(batch), -1, num_channels)
        for channel, row in enumerate(counts):
            row += np.bincount(codes[..., channel].ravel(), minlength=size)
        if source.channels is None:
            wanted = kept < num_examples
            for code, sample, position in _first_of_each_sample(codes[..., 0], wanted, num_examples):
                if kept[code] < num_examples:
                    examples[code, kept[code]] = done + sample, position
                    kept[code] += 1
        done += len(batch)
        if progress is not None:
            progress(done, len(source))
    return CodeUsage(counts, examples if source.channels is None else None)


def _first_of_each_sample(codes: np.ndarray, wanted: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Return code, sample and position where wanted codes (K,), bool, stand first in samples (n, T), some of each."""
    samples, positions = np.nonzero(wanted[codes])
    if not len(samples):
        return []
    found = codes[samples, positions].astype(np.int64)
    _, first = np.unique(found * len(codes) + samples, return_index=True)
    order = first[np.argsort(found[first], kind="stable")]
    rank = np.arange(len(order)) - np.searchsorted(found[order], found[order])
    order = order[rank < most]
    return list(zip(found[order].tolist(), samples[order].tolist(), positions[order].tolist(), strict=True))
