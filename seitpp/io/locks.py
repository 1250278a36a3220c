"""One writer at a time in a folder, by a lock that the operating system takes back when a process ends, however.

The lock is a file in the folder, by `filelock`. It goes away with the writer; one that a killed writer left behind
blocks nobody.
"""

import inspect
import os
import time
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_FILE = ".writer.lock"
# Where a file system has no locks, newer versions of the library would keep a marker, which outlives a killed process.
_HARD = {"fallback_to_soft": False} if "fallback_to_soft" in inspect.signature(FileLock.__init__).parameters else {}


class FolderLock:
    """Keeps other writers out of a folder from its creation until `release`, or until nothing refers to it.

    The folder is made where there is none; `what` is written there, for messages: "store". `patience` is how many
    seconds to wait for another writer: the loader workers of a killed one may live a little longer.

    Raises:
        BlockingIOError: Another writer is at work there, in this process or another one.
        OSError: The folder cannot be locked, for example because it is read-only.
    """

    def __init__(self, folder: Path, what: str, patience: float = 0.0, name: str = LOCK_FILE) -> None:
        self.path = folder / name
        self._deadline = time.monotonic() + patience
        self._lock = FileLock(self.path, thread_local=False, **_HARD)
        try:
            while not self._acquire():
                pass  # the writer before removed the file between our opening and locking it
        except Timeout as error:
            raise BlockingIOError(
                f"another writer is at work in the {what} {folder}; wait until it has ended, or name another folder"
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = (
                f"the {what} cannot be locked for writing: {getattr(error, 'strerror', None) or error}. Its folder "
                "must be writable and its file system have locks; write to a local folder and copy the result"
            )
            raise OSError(getattr(error, "errno", None), reason, str(folder)) from error

    def _acquire(self) -> bool:
        """Lock the file that bears the name; False if it was another one by the time it was locked, or none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._lock.acquire(timeout=max(0.0, self._deadline - time.monotonic()))
            if self.path.exists() and os.path.samestat(os.fstat(handle), os.stat(self.path)):
                return True
            self._lock.release()
            return False
        except FileNotFoundError:
            if self.path.parent.exists():
                raise
            return False  # the writer before has removed the folder, too
        finally:
            os.close(handle)

    def release(self) -> None:
        """Let other writers in, and remove the file."""
        if self._lock.is_locked:
            self.path.unlink(missing_ok=True)
            self._lock.release()
