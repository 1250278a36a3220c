"""Where a run writes: a folder of this machine, or, for a URL, of an object storage through fsspec."""

import errno
import os
import shutil
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

from seitpp.ingest.sources.files import file_system, is_url
from seitpp.io.untrusted import check_regular_file
from seitpp.storage import format as store_format

STAGING = ".tokenize"
"""Folder inside an unfinished store that holds what a killed run needs to continue."""

_TEMPORARY = f"{STAGING}/tmp"
_LOCAL_URLS = ("file://", "local://")


class OutputFolder:
    """A folder whose files appear whole or not at all.

    Locally they are written under a temporary name in `STAGING`, another one in each process, flushed and renamed;
    object storages show an object when it is complete.

    Args:
        path: The folder, which need not exist.
    """

    def __init__(self, path: str) -> None:
        self.path = str(path)
        if self.path.startswith(_LOCAL_URLS):
            self.path = file_system(self.path)[1]
        self.is_local = not is_url(self.path)

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place.

        Raises:
            OSError: It cannot be written, as on a full disk; what lay under the name before is still there.
            ValueError: No ordinary file lies under the name.
        """
        if not self.is_local:
            system, inner = self._remote(name)
            system.makedirs(str(PurePosixPath(inner).parent), exist_ok=True)
            system.pipe_file(inner, content)
            return
        target = Path(self.path, name)
        if target.exists():
            check_regular_file(target, "file")  # a pipe would wait for its reader
        if target.is_symlink():  # which stays
            store_format.atomic_write(target, [content])
            return
        temporary = Path(self.path, _TEMPORARY, f"{target.name}.{uuid.uuid4().hex}")
        try:
            for folder in (target.parent, temporary.parent):
                folder.mkdir(parents=True, exist_ok=True)
            _write_through(temporary, content)
            os.replace(temporary, target)
            _flush_folder(target.parent)  # the rename itself must survive a crash too
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f"{target} cannot be written: {error.strerror}. What was finished before is kept; make room and run "
                "the same command again to continue",
            ) from error

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None if there is none.

        Raises:
            ValueError: It is no ordinary file.
        """
        try:
            if self.is_local:
                return check_regular_file(Path(self.path, name), "file").read_bytes()
            system, inner = self._remote(name)
            return system.cat_file(inner)
        except FileNotFoundError:
            return None

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders in a folder, sorted; none if it does not exist."""
        try:
            if self.is_local:
                return sorted(path.name for path in Path(self.path, folder).iterdir())
            system, inner = self._remote(folder)
            system.invalidate_cache()  # other processes write here too
            return sorted(PurePosixPath(name.rstrip("/")).name for name in system.ls(inner, detail=False))
        except FileNotFoundError:
            return []

    def move(self, name: str, target: str) -> None:
        """Rename a file within the folder."""
        if self.is_local:
            Path(self.path, target).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(Path(self.path, name), Path(self.path, target))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # The target's folder is a link to another file system.
                store_format.atomic_write(Path(self.path, target), [Path(self.path, name).read_bytes()])
                Path(self.path, name).unlink()
            return
        system, inner = self._remote(name)
        _, inner_target = self._remote(target)
        system.makedirs(str(PurePosixPath(inner_target).parent), exist_ok=True)
        system.mv(inner, inner_target)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.is_local:
            Path(self.path, name).unlink(missing_ok=True)
            return
        system, inner = self._remote(name)
        if system.exists(inner):
            system.rm_file(inner)

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all in it, if it is there."""
        if self.is_local:
            shutil.rmtree(Path(self.path, name), ignore_errors=True)
            return
        system, inner = self._remote(name)
        if system.exists(inner):
            system.rm(inner, recursive=True)

    def remove_unfinished_files(self) -> None:
        """Remove what processes that were killed while they wrote have left; no other may be at work."""
        self.remove_folder(_TEMPORARY)

    def _remote(self, name: str) -> tuple[Any, str]:
        system, inner = file_system(self.path)
        return system, f"{inner.rstrip('/')}/{name}".rstrip("/")


def _write_through(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    if os.name != "posix":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
