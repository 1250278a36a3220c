"""Files on this machine, or, for paths with `://`, in an object storage through fsspec."""

import errno
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

URL_SIGN = "://"
_FILE_URL = "file://"
_MOST_VISITS = 100


def is_url(path: str | Path) -> bool:
    """Whether a path goes through fsspec, as `s3://bucket/images` does."""
    return URL_SIGN in str(path)


def local_path(path: str) -> str | None:
    """The path on this machine that a path or `file://` URL means; None for other URLs."""
    if not is_url(path):
        return path
    return file_system(path)[1] if path.startswith(_FILE_URL) else None


def parent(path: str) -> str:
    """The folder that a file lies in; of a URL, without the last slash unless nothing else is left."""
    if not is_url(path):
        return os.path.dirname(path) or "."
    scheme, _, inner = path.partition(URL_SIGN)
    return f"{scheme}{URL_SIGN}{inner.rpartition('/')[0]}"


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        ImportError: fsspec, or its driver for this kind of URL, is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(
            f"{url} needs fsspec: pip install fsspec, and the driver of the storage (s3fs, gcsfs)"
        ) from error
    return url_to_fs(str(url))


def join(root: str, *names: str) -> str:
    """A path below `root`, local or URL; an absolute name stands alone."""
    if names and (is_url(names[-1]) or (not is_url(root) and os.path.isabs(names[-1]))):
        return names[-1]
    if not is_url(root):
        return os.path.join(root, *names)
    return "/".join([root if root.endswith(URL_SIGN) else root.rstrip("/"), *names])


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_url(path):
        system, inner = file_system(path)
        return system.exists(inner)
    return os.path.exists(path)


def is_folder(path: str) -> bool:
    """Whether a folder is there."""
    if is_url(path):
        system, inner = file_system(path)
        return system.isdir(inner)
    return os.path.isdir(path)


def list_files(root: str) -> list[str]:
    """Every file below a folder, as paths relative to it with forward slashes, in code-point order.

    Links to folders are followed, but for one to a folder that it lies in. Hidden files and folders (a leading dot) are
    left out.

    Raises:
        OSError: A folder cannot be read.
        ValueError: Links make a maze of the folders.
    """
    if is_url(root):
        system, inner = file_system(root)
        inner = inner.rstrip("/")
        found = [name[len(inner) :].lstrip("/") for name in system.find(inner)]
    else:
        found = _walk(root)
    return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))


def list_folders(root: str) -> list[str]:
    """Names of the folders right below a folder, hidden ones left out, in code-point order."""
    if is_url(root):
        system, inner = file_system(root)
        entries = system.ls(inner, detail=True)
        found = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
    else:
        with os.scandir(root) as entries:
            found = [entry.name for entry in entries if _is_folder(entry)]
    return sorted(name for name in found if not name.startswith("."))


def _walk(root: str) -> list[str]:
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
                else:
                    found.append(inner + entry.name)
    return found


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for one: reading it will say so
        return False


def read_file(path: str, offset: int = 0, size: int | None = None) -> bytes:
    """Bytes of a file, or `size` of them from `offset`; raises as `open_file`."""
    if is_url(path):
        system, inner = file_system(path)
        return system.cat_file(inner, start=offset, end=None if size is None else offset + size)
    with open_file(path) as file:
        file.seek(offset)
        return file.read(size)


def open_file(path: str) -> Any:
    """An ordinary file, opened to read bytes.

    Raises:
        OSError: It cannot be read, or is a folder, a pipe or a device, which might never end.
    """
    if is_url(path):
        system, inner = file_system(path)
        return system.open(inner, "rb")
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, f"no name of a file, {error}", path) from error
    file = os.fdopen(handle, "rb") if stat.S_ISREG(mode := os.fstat(handle).st_mode) else None
    if file is not None:
        return file
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "a pipe, socket or device where a file is expected", path)
