"""A store expanded once into a form that is fast to read at random, kept in a folder of such copies."""

import os
import shutil
import tempfile
from pathlib import Path

from seitpp.storage import format as store_format
from seitpp.storage.reader import StoreReader
from seitpp.storage.writer import copy_store


def expand_store(
    reader: StoreReader,
    folder: str | Path,
    *,
    codec: str = "raw",
    progress: store_format.Progress | None = None,
) -> StoreReader:
    """A copy of a store with rows of fixed width, made in `folder` unless it is there already.

    The copy is a store of its own, named after the content hash of the original. It appears whole: it is written aside
    and renamed. If two processes make the same copy, the first to finish wins, and the other one uses its copy.

    Args:
        reader: The store.
        folder: Where copies are kept; one such folder may serve many stores.
        codec: `raw`, which is the fastest to read, or `bitpacked`, which takes about half the space.
        progress: Called with the number of samples done and their total.

    Raises:
        ValueError: The codec has no rows of fixed width, or a copy in `folder` is damaged.
    """
    if codec not in ("raw", "bitpacked"):
        raise ValueError(f"codec is {codec!r}, expected raw or bitpacked: other rows have no fixed width")
    folder = Path(folder)
    target = folder / f"{reader.content_hash}-{codec}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name[:16]}-", dir=folder))
        try:
            copy_store(reader, aside / "store", codec=codec, progress=progress)
            try:
                os.rename(aside / "store", target)
            except OSError:
                if not target.exists():
                    raise
                # Another process was faster; its copy has the same content.
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return _checked_copy(reader, target)


def _checked_copy(reader: StoreReader, path: Path) -> StoreReader:
    """Open a copy, and make sure that it is one of this store."""
    try:
        copy = StoreReader(path)
    except ValueError as error:
        raise ValueError(f"{error}; this is a copy of {reader.path}, delete {path} to have it made again") from error
    found = copy.header["source"].get("copied_from")
    if found != reader.content_hash or len(copy) != len(reader):
        raise ValueError(
            f"{path} is a copy of store {found}, expected {reader.content_hash} of {reader.path}; delete it to have "
            "it made again"
        )
    return copy
