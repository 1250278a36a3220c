"""Where a run writes: a folder of this machine, or, by a URL, of an object storage, through fsspec."""

import contextlib
import errno
import os
import posixpath
import re
import shutil
import uuid
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from seitpp.ingest.sources.files import file_system
from seitpp.io.atomic_write import remove_unfinished, written_whole
from seitpp.io.locks import FolderLock
from seitpp.io.untrusted import check_regular_file

STAGING = ".tokenize"
"""Folder inside an unfinished store that holds what a killed run needs to continue."""

# Processes of a run that was killed may live some seconds longer.
PATIENCE_SECONDS = 15.0
_NO_LOCKS = (None, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # error numbers of file systems without locks
_PASSING = re.compile(r"\..*\.tmp[0-9a-f]{32}")  # what is being written
_held: dict[tuple[int, str], FolderLock] = {}  # by process and folder


class OutputFolder:
    """A folder whose files appear whole or not at all.

    Object storages show an object when it is complete; locally, files are written aside, flushed and renamed. The
    folder need not exist.
    """

    def __init__(self, path: str) -> None:
        self._system, self._root = file_system(str(path))
        self.is_local = isinstance(self._system, LocalFileSystem)
        self.path = self._root if self.is_local else str(path)

    def lock(self, alone: bool) -> None:
        """Keep other runs out until `unlock`, or until this process ends; does nothing where this process does so.

        Object storages, and file systems without locks, are not guarded.

        Args:
            alone: True for the first process of a run, which no other process may be beside; the others of the same
                run leave a lock of their own each, for which the first process of the next run waits.

        Raises:
            BlockingIOError: Another run is at work there.
        """
        folder, key = Path(self.path, STAGING), (os.getpid(), os.path.abspath(self.path))
        if not self.is_local or (key in _held and _held[key].path.exists()):
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            name = "run.lock" if alone else f"{uuid.uuid4().hex}.lock"
            _held[key] = FolderLock(folder, "store", PATIENCE_SECONDS, name)
            for left in folder.glob("*.lock") if alone else ():
                if left.name != name:
                    FolderLock(folder, "store", PATIENCE_SECONDS, left.name).release()
        except BlockingIOError:
            self.unlock()
            raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def unlock(self) -> None:
        """Let other runs in, where this process kept them out."""
        if (lock := _held.pop((os.getpid(), os.path.abspath(self.path)), None)) is not None:
            lock.release()

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place; where that fails, as on a full disk, what lay there before still does."""
        if not self.is_local:
            self._system.makedirs(posixpath.dirname(self._inner(name)), exist_ok=True)
            self._system.pipe_file(self._inner(name), content)
            return
        target = Path(self.path, name)
        if target.exists():
            check_regular_file(target, "file")  # a pipe would wait for its reader
        try:
            with written_whole(target) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(
                error.errno,
                f"{target} cannot be written: {reason}. What was finished before is kept; make room and run the same "
                "command again to continue",
            ) from error

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none; `ValueError` for what is not an ordinary file."""
        try:
            if self.is_local:
                check_regular_file(self._inner(name), "file")
            return self._system.cat_file(self._inner(name))
        except FileNotFoundError:
            return None

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the files and folders in a folder, sorted; none if it does not exist."""
        try:
            if self.is_local:
                paths = os.listdir(self._inner(folder))
            else:
                self._system.invalidate_cache()  # other processes write here too
                paths = self._system.ls(self._inner(folder), detail=False)
        except FileNotFoundError:
            return []
        names = sorted(posixpath.basename(path.rstrip("/")) for path in paths)
        return [name for name in names if not _PASSING.fullmatch(name)]

    def move(self, name: str, target: str) -> None:
        """Rename a file within the folder."""
        self._system.makedirs(posixpath.dirname(self._inner(target)), exist_ok=True)
        self._system.mv(self._inner(name), self._inner(target))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._inner(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all in it, if it is there."""
        if self.is_local:
            shutil.rmtree(self._inner(name), ignore_errors=True)
        elif self._system.exists(self._inner(name)):
            self._system.rm(self._inner(name), recursive=True)

    def remove_unfinished_files(self) -> None:
        """Remove what processes that were killed while they wrote have left; no other may be at work."""
        if self.is_local:
            for folder in ("", STAGING, f"{STAGING}/partial", f"{STAGING}/labels", "labels", "report"):
                remove_unfinished(Path(self.path, folder))

    def _inner(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")
