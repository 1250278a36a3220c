"""Reading files and folders through fsspec: of this machine, or, by paths with `://`, of an object storage."""

import errno
import os
import stat
from collections import Counter
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from seitpp.io.progress import Advance, progress_bar

URL_SIGN = "://"
_LOCAL = LocalFileSystem()
_MOST_VISITS = 100  # of one folder, by as many ways
_TOLD = 1000  # files between two calls that tell of progress


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL, as `s3://bucket/images` is."""
    return URL_SIGN in str(path)


def file_system(path: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a path or URL, and the path in it; `ImportError` where its driver is not installed."""
    if not path:
        raise ValueError("a path is empty; name a file, a folder or a URL")
    if is_url(path):
        return url_to_fs(path)
    # A folder may be called so; fsspec would take it for somebody's home, or for a URL. `::` it takes for a chain.
    return _LOCAL, f"./{path}" if path.startswith(("~", "file:", "local:")) else path


def local_path(path: str) -> str | None:
    """Return the path on this machine that a path or URL means; None for other storages."""
    system, inner = file_system(path)
    return inner if isinstance(system, LocalFileSystem) else None


def parent(path: str) -> str:
    """Return the folder that a file lies in."""
    return path[: path.rindex("/") + 1] if is_url(path) else os.path.dirname(path) or "."


def join(root: str, name: str) -> str:
    """Return the path of `name` in the folder `root`; a URL or an absolute path stands alone."""
    return name if is_url(name) else os.path.join(root, name)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    system, inner = file_system(path)
    return system.exists(inner)


def is_folder(path: str) -> bool:
    """Whether a folder is there."""
    system, inner = file_system(path)
    return system.isdir(inner)


def list_files(root: str) -> list[str]:
    """List every file below a folder, as paths relative to it with forward slashes, in code-point order.

    Links to folders are followed, but for one to a folder that it lies in. Hidden files and folders (a leading dot) are
    left out. A folder that cannot be read is an `OSError`.
    """
    system, inner = file_system(root)
    with progress_bar(f"listing {root}", unit="files") as progress:
        if isinstance(system, LocalFileSystem):  # fsspec does not follow links, and passes over what it may not read
            found = _walk(inner, progress)
        else:
            inner = inner.rstrip("/")
            found = [name[len(inner) :].lstrip("/") for name in system.find(inner)]
    return sorted(name for name in found if "/." not in f"/{name}")


def list_folders(root: str) -> list[str]:
    """List the names of the folders right below a folder, hidden ones left out, in code-point order."""
    system, inner = file_system(root)
    if isinstance(system, LocalFileSystem):
        with os.scandir(inner) as entries:
            found = [entry.name for entry in entries if _is_folder(entry)]
    else:
        entries = system.ls(inner, detail=True)
        found = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
    return sorted(name for name in found if not name.startswith("."))


def _walk(root: str, progress: Advance) -> list[str]:
    found: list[str] = []
    visits: Counter[tuple[int, int]] = Counter()
    waiting = [(root, "", frozenset[tuple[int, int]]())]
    while waiting:
        folder, inner, above = waiting.pop()
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a link back up would go round for ever
            continue
        visits[identity] += 1
        if visits[identity] > _MOST_VISITS:
            raise ValueError(
                f"links lead to the folder {folder} by more than {_MOST_VISITS} ways; remove links between folders, or "
                "name the images in a list"
            )
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    waiting.append((entry.path, f"{inner}{entry.name}/", above | {identity}))
                    continue
                found.append(inner + entry.name)
                if len(found) % _TOLD == 0:
                    progress(len(found), None)
    return found


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for one: reading it will say so
        return False


def read_file(path: str, offset: int = 0, size: int | None = None) -> bytes:
    """Read a file, or `size` bytes of it from `offset`."""
    system, inner = _readable(path)
    return system.cat_file(inner, start=offset, end=None if size is None else offset + size)


def open_file(path: str) -> AbstractBufferedFile:
    """Open an ordinary file to read bytes; `OSError` for a folder, and for a pipe or device, which might never end."""
    system, inner = _readable(path)
    return system.open(inner, "rb")


def _readable(path: str) -> tuple[AbstractFileSystem, str]:
    """Return what `file_system` does; refuse what would block or never end."""
    system, inner = file_system(path)
    if isinstance(system, LocalFileSystem):
        try:
            mode = os.stat(inner).st_mode
        except ValueError as error:  # a null byte in the name
            raise OSError(errno.EINVAL, f"no name of a file, {error}", path) from error
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise OSError(errno.EINVAL, "a pipe, socket or device where a file is expected", path)
    return system, inner
