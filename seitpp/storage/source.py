"""What a token store and a release file have in common."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from seitpp.storage.header import Progress


class TokenSource(Protocol):
    """Samples of tokens that can be read at random or in order; see `StoreReader` for the attributes."""

    grid: tuple[int, int]
    codebook_size: int
    channels: int | None
    minimum: int
    sample_shape: tuple[int, ...]
    dtype: np.dtype
    codebook_sha256: str | None
    classes: list[str] | None

    @property
    def labels(self) -> np.ndarray | None:
        """Class indices (N,), int64; None where there are none."""

    @property
    def section_bytes(self) -> dict[str, int]:
        """Bytes on disk by purpose."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.section_bytes.values())

    def __len__(self) -> int: ...

    def read(self, indices: Any) -> np.ndarray:
        """Read the tokens of some samples."""

    def iter_batches(self) -> Iterator[np.ndarray]:
        """Yield the tokens of all samples in order, some thousand at a time."""

    def read_all(self, progress: Progress | None = None) -> np.ndarray:
        """Read the tokens of all samples (N, *sample_shape); `progress` is called with samples done and their total."""
        tokens, done = np.empty((len(self), *self.sample_shape), self.dtype), 0
        for batch in self.iter_batches():
            tokens[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, len(self))
        return tokens
