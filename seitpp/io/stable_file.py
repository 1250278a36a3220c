"""Files that are read at any offset, must not change meanwhile, and stay open only while there is room.

A store may have more shards than a process may have open files (`ulimit -n`, often 1,024). All readers of a process
share one bound; the file that was opened first is closed first. A file that is read again while it is open is mapped
into memory, which saves a system call per piece. Where each read opens other files, none is mapped.
"""

import contextlib
import errno
import hashlib
import mmap
import os
import resource
import stat
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from seitpp.io.atomic_write import too_many_open
from seitpp.io.untrusted import check_regular_file

_MOST_OPEN = 1024
_BLOCK_BYTES = 2**23
_WAITS, _WAIT_SECONDS = 100, 0.01
# Before Python 3.13 a map takes a descriptor of its own.
_MAP_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class FileIdentity(NamedTuple):
    """What tells a file from another one under its name, without reading it."""

    device: int
    inode: int
    num_bytes: int
    modified_ns: int
    changed_ns: int


def file_identity(file: int | str | Path) -> FileIdentity:
    """Return the identity of a file that is open, or that lies at a path."""
    found = os.stat(file)
    return FileIdentity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class OpenFile:
    """An open file, closed when nobody holds it any more: a thread may still read when another one needs the room."""

    __slots__ = ("changed_ns", "content", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.content: memoryview | None = None  # of a memory map, which goes with its last view
        self.changed_ns: int | None = None  # the last change of the file that was compared with what it must be

    def __del__(self) -> None:
        os.close(self.number)


OpenFiles = dict[int, OpenFile]
Result = TypeVar("Result")


class StableFile:
    """An ordinary file whose content must stay what it was when it was checked; an exact copy, by its hash, passes.

    It can be pickled, forked and read by several threads: it is opened when first needed.
    """

    def __init__(self, path: Path, identity: FileIdentity, sha256: str) -> None:
        self.path = path
        self.identity = identity
        self.sha256 = sha256
        self._opened: OpenFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def open(self) -> OpenFile:
        """Return the open file; raise `ValueError` if it has changed, `OSError` if it is gone or too many are open."""
        opened = self._opened  # another thread may close it
        if opened is not None:
            # Nothing of an open file changes without the time of its last change.
            if os.fstat(opened.number).st_ctime_ns == opened.changed_ns:
                if opened.content is None:
                    # No room for a map, or just cut to nothing: it is read without.
                    with contextlib.suppress(OSError, ValueError):
                        content = mmap.mmap(opened.number, 0, access=mmap.ACCESS_READ, **_MAP_OPTIONS)
                        opened.content = memoryview(content)
                return opened
        else:
            _close_oldest(most_open() - 1)
            opened = self._opened = open_regular(self.path, "shard")
            _OPENED.append(weakref.ref(self))
        found = file_identity(opened.number)
        if found != self.identity:
            if found.num_bytes != self.identity.num_bytes or self.found_sha256(opened) != self.sha256:
                self.close()
                raise self.changed(found.num_bytes)
            self.identity = found
        opened.changed_ns = found.changed_ns
        return opened

    def changed(self, num_bytes: int) -> ValueError:
        """Return the error of a file that has `num_bytes` now and is not what it was."""
        return ValueError(
            f"{self.path} has changed since the store was opened ({self.identity.num_bytes} bytes then, {num_bytes} "
            "now): open the store again, and write stores under new names"
        )

    def close(self) -> None:
        """Close the file, and drop what was loaded from it; it is opened again when needed."""
        self._opened = None

    def read(self, offset: int, num_bytes: int) -> bytearray:
        """Return some bytes of the file; raises as `open` does."""
        return read_pieces([self], [0], [offset], [num_bytes])

    def found_sha256(self, opened: OpenFile | None = None) -> str:
        digest = hashlib.sha256()
        for block in self.blocks(opened):
            digest.update(block)
        return digest.hexdigest()

    def blocks(self, opened: OpenFile | None = None) -> Iterator[bytes]:
        """Yield the whole content, 8 MiB at a time."""
        opened = opened or self.open()
        for start in range(0, self.identity.num_bytes, _BLOCK_BYTES):
            wanted = min(_BLOCK_BYTES, self.identity.num_bytes - start)
            block = os.pread(opened.number, wanted, start)
            if len(block) != wanted:
                raise self.changed(os.fstat(opened.number).st_size)
            yield block


def read_pieces(
    files: Sequence[StableFile], numbers: Sequence[int], offsets: Sequence[int], lengths: Sequence[int]
) -> bytearray:
    """Read pieces of files, at most 2 GiB each, one after the other in the result; raises as `StableFile.open` does."""

    def read(opened: OpenFiles, part: slice) -> bytearray:
        return read_opened(files, opened, numbers[part], offsets[part], lengths[part])

    parts = with_files_open(files, numbers, read)
    return parts[0] if len(parts) == 1 else bytearray().join(parts)


def with_files_open(
    files: Sequence[StableFile],
    numbers: Sequence[int],
    read: Callable[[OpenFiles, slice], Result],
    part: slice | None = None,
) -> list[Result]:
    """Call `read` while the files that it needs are open, and return its results; raises as `StableFile.open` does.

    `numbers` are the indices of the pieces' files; `part` of them are read, all by default. `read` is called with the
    open files by number and the part that it is for: all, or one after the other where so many cannot be open together.
    """
    part = part or slice(0, len(numbers))
    distinct = set(numbers[part])
    if len(distinct) <= most_open():
        waits = _WAITS if len(distinct) == 1 and threading.active_count() > 1 else 0
        for left in range(waits, -1, -1):
            try:
                return [read({number: files[number].open() for number in distinct}, part)]
            except OSError as error:
                if error.errno != errno.EMFILE or (len(distinct) == 1 and not left):
                    raise
            if left:  # other threads hold the files that they read until they have
                time.sleep(_WAIT_SECONDS)
    middle = (part.start + part.stop) // 2
    halves = slice(part.start, middle), slice(middle, part.stop)
    return [result for half in halves for result in with_files_open(files, numbers, read, half)]


def read_opened(
    files: Sequence[StableFile],
    opened: OpenFiles,
    numbers: Sequence[int],
    offsets: Sequence[int],
    lengths: Sequence[int],
) -> bytearray:
    """Do the work of `read_pieces` on files that `with_files_open` has opened."""
    maps = {number: file.content for number, file in opened.items()}
    pieces = [
        os.pread(opened[number].number, length, offset)
        if (content := maps[number]) is None
        else content[offset : offset + length]
        for number, offset, length in zip(numbers, offsets, lengths, strict=True)
    ]
    joined = bytearray().join(pieces)  # that arrays on it can be written to
    if len(joined) != sum(lengths):
        of_pieces = zip(numbers, pieces, lengths, strict=True)
        number = next(number for number, piece, length in of_pieces if len(piece) != length)
        raise files[number].changed(file_identity(files[number].path).num_bytes)
    return joined


# Files in the order in which they were opened; some may be closed or gone.
_OPENED: deque[weakref.ref[StableFile]] = deque()


def _close_oldest(kept: int) -> None:
    while len(_OPENED) > kept:
        try:
            file = _OPENED.popleft()()
        except IndexError:  # another thread was faster
            return
        if file is not None:
            file._opened = None


def open_regular(path: str | Path, what: str) -> OpenFile:
    """Open an ordinary file, closing others that can be opened again if too many are open."""
    try:
        opened = OpenFile(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a pipe would wait for its other end
    except OSError as error:
        if error.errno == errno.EMFILE and _OPENED:  # other parts of the program have taken the rest
            _close_oldest(0)
            return open_regular(path, what)
        if reason := too_many_open(error):
            raise OSError(error.errno, reason, str(path)) from error
        check_regular_file(path, what)
        raise
    if not stat.S_ISREG(os.fstat(opened.number).st_mode):
        check_regular_file(path, what)
    return opened


def most_open() -> int:
    """Return how many files the readers of a process may keep open together, at most 1,024.

    With the map that one may have, a file takes two descriptors; a quarter of what the process may have is left to
    others.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_OPEN if limit == resource.RLIM_INFINITY else max(1, min(limit * 3 // 8, _MOST_OPEN))
