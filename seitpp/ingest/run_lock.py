"""One run at a time in a folder: a lock that the operating system takes back when a process ends, however it ends."""

import errno
import os
import time

from seitpp.ingest.output import STAGING, OutputFolder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Processes of a run that was killed may live some seconds longer.
_PATIENCE_SECONDS = 15.0
_held: dict[str, int] = {}  # file descriptors by path


def hold(out: str, alone: bool) -> None:
    """Keep other runs out of a local folder until this process ends.

    The first process of a run asks for it `alone`, then all of the run share it. Locks are those of `fcntl.lockf`,
    which forked loader workers do not inherit. Object storages, and file systems without locks, are not guarded.

    Args:
        out: Folder of the store.
        alone: Whether no other process may hold it, or those of the same run may.

    Raises:
        BlockingIOError: Another run is at work there.
    """
    output = OutputFolder(out)
    if fcntl is None or not output.is_local:
        return
    file, deadline = _open_file(output), time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_NB | (fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return
            if time.monotonic() >= deadline:
                raise BlockingIOError(
                    f"another run is writing to {out}; wait until it has ended, or name another folder"
                ) from error
            time.sleep(0.1)


def release(out: str) -> None:
    """Let other runs in, where this process kept them out."""
    output = OutputFolder(out)
    file = _held.pop(_lock_path(output), None) if output.is_local else None
    if file is not None:
        os.close(file)


def _open_file(output: OutputFolder) -> int:
    """The open lock file. One that is open must not be opened again: closing either would end the lock."""
    path = _lock_path(output)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    held = _held.get(path)
    if held is not None and os.path.exists(path) and os.path.samestat(os.fstat(held), os.stat(path)):
        return held
    if held is not None:
        os.close(_held.pop(path))  # before anything can fail: a closed file must not be kept
    _held[path] = os.open(path, os.O_RDWR | os.O_CREAT)
    return _held[path]


def _lock_path(output: OutputFolder) -> str:
    return os.path.join(os.path.abspath(output.path), STAGING, "lock")
