"""Writing files so that a reader sees the whole of one or nothing. No numpy: every tool imports this."""

import errno
import os
import resource
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a name to write to; it becomes `path` when the block ends, and goes away when the block fails.

    A symbolic link stays: the file that it leads to is replaced. What is no ordinary file (a device, a pipe) cannot be
    replaced and is yielded itself, to be written to directly. Errors of writing name `path`.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; name a file")
    replaces = not target.exists() or target.is_file()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of its own for each call: threads, and processes on other machines, may write to the same name.
    aside = target.with_name(f".{target.name[:200]}.tmp{uuid.uuid4().hex}") if replaces else target
    try:
        yield aside
        if replaces:
            _sync(aside)
            os.replace(aside, target)
            _sync(target.parent)  # the rename itself must survive a crash, too
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(aside), aside):
            raise OSError(error.errno, f"cannot write, {os.strerror(error.errno)}", str(path)) from error
        raise
    finally:
        if replaces:
            aside.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it has, at any moment, its old content or all of the new; raises as `written_whole`."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def remove_unfinished(folder: str | Path, pattern: str = "*") -> None:
    """Remove what killed processes left half written in a folder as `pattern`; nobody may be writing there now."""
    for path in Path(folder).glob(f".{pattern}.tmp{'[0-9a-f]' * 32}"):
        path.unlink(missing_ok=True)


def check_other_file(source: str | Path, target: str | Path) -> None:
    """Refuse a `target` that is what is read, or a file of a store that is read, under whatever name."""
    read, written = os.path.realpath(source), os.path.realpath(target)
    is_store = os.path.isfile(os.path.join(read, "header.json"))
    same = read == written or (is_store and os.path.isfile(written) and written.startswith(read + os.sep))
    if same or (os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target)):
        raise ValueError(f"{target} is what would be read, {source}; write to another file or folder")


def too_many_open(error: OSError) -> str | None:
    """Return what to do about an error, if it is that too many files are open; None for any other."""
    if error.errno == errno.ENFILE:
        return "too many files are open on this machine; end other programs, or raise fs.file-max"
    if error.errno != errno.EMFILE:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "" if hard == resource.RLIM_INFINITY else f" (at most {hard})"
    raise_it = "" if soft == hard else f"raise it with ulimit -n NUMBER{most}, or "
    return f"too many open files, the limit of this process is {soft} (ulimit -n); {raise_it}use fewer workers"


def _sync(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
