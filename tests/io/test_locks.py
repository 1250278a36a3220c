"""One writer at a time in a folder."""

import errno
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from seitpp.io.locks import LOCK_FILE, FolderLock


def test_second_writer_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    first = FolderLock(tmp_path, "store")
    with pytest.raises(BlockingIOError, match=rf"another writer is at work in the store {tmp_path}; wait"):
        FolderLock(tmp_path, "store")
    first.release()
    FolderLock(tmp_path, "store").release()
    assert list(tmp_path.iterdir()) == []


def test_release_by_one_that_holds_nothing_changes_nothing(tmp_path: Path) -> None:
    first = FolderLock(tmp_path, "store")
    first.release()
    second = FolderLock(tmp_path, "store")
    first.release()
    with pytest.raises(BlockingIOError, match="another writer"):
        FolderLock(tmp_path, "store")
    second.release()


def test_patient_writer_waits_for_the_one_before(tmp_path: Path) -> None:
    first = FolderLock(tmp_path, "store")
    timer = threading.Timer(0.2, first.release)
    timer.start()
    second = FolderLock(tmp_path, "store", patience=30)
    timer.join()
    with pytest.raises(BlockingIOError, match="another writer"):
        FolderLock(tmp_path, "store", patience=0.1)
    second.release()


def test_killed_writer_blocks_nobody(tmp_path: Path) -> None:
    hold = "import os, sys; from pathlib import Path; from seitpp.io.locks import FolderLock\n"
    hold += "lock = FolderLock(Path(sys.argv[1]), 'store'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="another writer"):
            FolderLock(tmp_path, "store")
        process.kill()
    assert (tmp_path / LOCK_FILE).exists()
    FolderLock(tmp_path, "store").release()
    assert list(tmp_path.iterdir()) == []


def test_forgotten_writer_blocks_nobody(tmp_path: Path) -> None:
    FolderLock(tmp_path, "store")
    FolderLock(tmp_path, "store").release()


def test_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match=f"cannot be locked for writing: .*have locks; write to a local .*{tmp_path}"):
        FolderLock(tmp_path, "store")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "cannot be locked for writing: Read-only file system. Its"),
        (OSError(errno.ENOLCK, "No locks available"), "cannot be locked for writing: No locks available"),
        (NotImplementedError("FileSystem does not appear to support flock"), "cannot be locked .*support flock"),
    ],
)
def test_folder_without_locks_is_named(
    tmp_path: Path, error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=f"{message}.*{tmp_path}"):
        FolderLock(tmp_path, "store")


def test_folder_that_goes_away_while_one_waits_is_made_again(tmp_path: Path) -> None:
    """As the folder of a run that ends does."""
    first = FolderLock(tmp_path / "run", "store")
    ended = threading.Timer(0.2, lambda: (shutil.rmtree(tmp_path / "run"), first.release()))
    ended.start()
    second = FolderLock(tmp_path / "run", "store", patience=30.0)
    ended.join()
    assert second.path.exists()
    second.release()
