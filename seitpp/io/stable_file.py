"""Files that are read at any place, must not change meanwhile, and stay open only while there is room.

A store may have more shards than a process may have open files (`ulimit -n`, often 1,024). All readers of a process
share one bound; the file that was opened first is closed first. Reads are plain `pread`s: a file that is cut off while
it is read gives an error, where a memory map would end the process.
"""

import errno
import hashlib
import os
import stat
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seitpp.io.open_limit import most_open, too_many_open
from seitpp.io.untrusted import check_regular_file

_BLOCK_BYTES = 2**23


class FileIdentity(NamedTuple):
    """What tells a file from another one under its name, without reading it."""

    device: int
    inode: int
    num_bytes: int
    modified_ns: int
    changed_ns: int


def file_identity(file: int | str | Path) -> FileIdentity:
    """The identity of a file that is open, or that lies at a path."""
    found = os.stat(file)
    return FileIdentity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Descriptor:
    """An open file, closed when nobody holds it any more: a thread may still read when another one needs the room."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class StableFile:
    """An ordinary file that must stay the one that it was when it was checked.

    It can be pickled, forked and read by several threads: it is opened when first needed.

    Args:
        path: The file.
        identity: What told it from other files when it was checked.
        sha256: Hash of its content, by which an exact copy passes for it.
    """

    def __init__(self, path: Path, identity: FileIdentity, sha256: str) -> None:
        self.path = path
        self.identity = identity
        self.sha256 = sha256
        self._descriptor: Descriptor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def open(self) -> Descriptor:
        """The open file, after comparing it with what it was.

        Raises:
            FileNotFoundError: It is gone.
            ValueError: It is another one now, or has changed.
            OSError: Too many files are open; says the limit.
        """
        descriptor = self._descriptor  # another thread may close it
        if descriptor is None:
            _close_oldest(most_open() - 1)
            descriptor = self._descriptor = open_regular(self.path, "shard")
            _OPENED.append(weakref.ref(self))
            self._check_content(descriptor, file_identity(descriptor.number))
        # Nothing of an open file changes without the time of its last change. This runs for every file of a batch.
        elif os.fstat(descriptor.number).st_ctime_ns != self.identity.changed_ns:
            self._check_content(descriptor, file_identity(descriptor.number))
        return descriptor

    def _check_content(self, descriptor: Descriptor, found: FileIdentity) -> None:
        """Accept the same file, or one with the same content; `ValueError` for any other."""
        if found == self.identity:
            return
        if found.num_bytes != self.identity.num_bytes or self._sha256(descriptor) != self.sha256:
            self.close()
            raise self.changed(found.num_bytes)
        self.identity = found

    def changed(self, num_bytes: int) -> ValueError:
        """The error of a file that has `num_bytes` now and is not what it was."""
        return ValueError(
            f"{self.path} has changed since the store was opened ({self.identity.num_bytes} bytes then, {num_bytes} "
            "now): open the store again, and write stores under new names"
        )

    def close(self) -> None:
        """Close the file, and drop what belongs to an open one; it is opened again when needed."""
        self._descriptor = None

    def read(self, offset: int, num_bytes: int) -> bytearray:
        """Some bytes of the file; raises as `open` does."""
        content = bytearray(num_bytes)
        read_pieces([self], [0], [offset], memoryview(content), [0], [num_bytes])
        return content

    def blocks(self) -> Iterator[bytes]:
        """The whole content, 8 MiB at a time."""
        return _blocks(self, self.open())

    def found_sha256(self) -> str:
        """Hash of the content."""
        return self._sha256(self.open())

    def _sha256(self, descriptor: Descriptor) -> str:
        digest = hashlib.sha256()
        for block in _blocks(self, descriptor):
            digest.update(block)
        return digest.hexdigest()


def read_pieces(
    files: Sequence[StableFile],
    numbers: Sequence[int],
    offsets: Sequence[int],
    target: memoryview,
    starts: Sequence[int],
    stops: Sequence[int],
) -> None:
    """Read pieces of several files into one buffer.

    Args:
        files: The files.
        numbers: For each piece the number of its file; each file is compared with what it was once per run of pieces.
        offsets: Where each piece starts in its file.
        target: The buffer, bytes.
        starts: Where each piece starts in the buffer.
        stops: Where it ends.

    Raises:
        FileNotFoundError, ValueError, OSError: See `StableFile.open`.
    """
    current, preadv = -1, os.preadv
    for number, offset, start, stop in zip(numbers, offsets, starts, stops, strict=True):
        if number != current:
            current, descriptor = number, files[number].open()
        count = preadv(descriptor.number, (target[start:stop],), offset)
        while start + count < stop:  # more than the 2 GiB of one call, or the file ends
            start, offset = start + count, offset + count
            count = preadv(descriptor.number, (target[start:stop],), offset)
            if not count:
                raise files[number].changed(os.fstat(descriptor.number).st_size)


def _blocks(file: StableFile, descriptor: Descriptor) -> Iterator[bytes]:
    for start in range(0, file.identity.num_bytes, _BLOCK_BYTES):
        wanted = min(_BLOCK_BYTES, file.identity.num_bytes - start)
        block = os.pread(descriptor.number, wanted, start)
        if len(block) != wanted:
            raise file.changed(os.fstat(descriptor.number).st_size)
        yield block


# Files in the order in which they were opened; some may be closed or gone.
_OPENED: deque[weakref.ref[StableFile]] = deque()


def _close_oldest(kept: int) -> None:
    """Close files until at most some are open."""
    while len(_OPENED) > kept:
        try:
            file = _OPENED.popleft()()
        except IndexError:  # another thread was faster
            return
        if file is not None:
            file.close()


def open_regular(path: str | Path, what: str) -> Descriptor:
    """Open an ordinary file, closing others that can be opened again if too many are open.

    Args:
        path: The file.
        what: What it is, for messages.

    Raises:
        FileNotFoundError: Nothing lies there.
        ValueError: It is no ordinary file.
        OSError: Too many files are open; says the limit.
    """
    try:
        descriptor = Descriptor(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a pipe would wait for its other end
    except OSError as error:
        if error.errno == errno.EMFILE and _OPENED:  # other parts of the program have taken the rest
            _close_oldest(0)
            return open_regular(path, what)
        if reason := too_many_open(error):
            raise OSError(error.errno, reason, str(path)) from error
        check_regular_file(path, what)
        raise
    if not stat.S_ISREG(os.fstat(descriptor.number).st_mode):
        check_regular_file(path, what)
    return descriptor
