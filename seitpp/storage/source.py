"""What a token store and a release file have in common, and opening either of them by its path."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seitpp.storage.header import Progress
from seitpp.storage.reader import StoreReader
from seitpp.storage.release.reader import SeitRelease, is_release


class TokenSource(Protocol):
    """What a store and a release file have in common."""

    grid: tuple[int, int]
    codebook_size: int
    channels: int | None
    minimum: int
    sample_shape: tuple[int, ...]
    codebook_sha256: str | None
    classes: list[str] | None

    @property
    def labels(self) -> np.ndarray | None: ...
    @property
    def section_bytes(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    def read(self, indices: Any) -> np.ndarray: ...
    def read_all(self, progress: Progress | None = None) -> np.ndarray: ...
    def iter_batches(self) -> Iterator[np.ndarray]: ...


def open_source(
    path: str | Path,
    *,
    grid: tuple[int, int] = (32, 32),
    codebook_size: int | None = None,
    label_path: str | Path | None = None,
    allow_incomplete: bool = False,
) -> StoreReader | SeitRelease:
    """Open a release if `is_release(path)`, otherwise a store.

    Args:
        path: Folder of a store, or the `.data.bin.gz` file of a release.
        grid: Rows and columns of a token map (H, W); only for a release, a store knows its own.
        codebook_size: Number of codes K of a release; by default the most that the format can express.
        label_path: Label file of a release, if it does not lie beside it.
        allow_incomplete: Accept a store whose writer has not finished.

    Raises:
        FileNotFoundError: A file of the release does not exist.
        NotAStoreError: The path is neither a release nor a store.
        ValueError: What lies there is damaged.
    """
    if is_release(path):
        return SeitRelease(path, label_path, grid=grid, codebook_size=codebook_size)
    return StoreReader(path, allow_incomplete=allow_incomplete)
