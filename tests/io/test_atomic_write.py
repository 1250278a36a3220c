"""Files that appear whole or not at all."""

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from seitpp.benchmarking.synthetic import make_store
from seitpp.io.atomic_write import check_other_file, remove_unfinished, written_whole


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with written_whole(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="disk full"), written_whole(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.pth") as temporary:
        left = temporary.name
        temporary.write_text("whole")
    kept = {"a.pth", ".a.pth.tmp", ".hidden", left.replace("a.pth", "b.txt")}
    for name in (left, *kept):
        (tmp_path / name).write_text("x")
    remove_unfinished(tmp_path, "*.pth")
    assert set(os.listdir(tmp_path)) == kept
    remove_unfinished(tmp_path)
    assert set(os.listdir(tmp_path)) == {"a.pth", ".a.pth.tmp", ".hidden"}
    remove_unfinished(tmp_path / "nowhere")


def test_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "kept" / "file.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    with written_whole(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_is_no_file_is_written_to_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with written_whole(pipe) as same:
        assert same == pipe
        same.write_text("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_device_is_not_replaced() -> None:
    with written_whole(os.devnull) as same:
        same.write_text("nothing")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file"), written_whole(tmp_path):
        pass


def test_full_disk_names_the_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with pytest.raises(OSError, match=r"No space left on device: '.*file\.txt'"), written_whole(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_full_device_names_the_file(tmp_path: Path) -> None:
    link = tmp_path / "file.txt"
    link.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*file\.txt'"), written_whole(link) as same:
        same.write_text("lost")


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with written_whole(target) as first:
        first.write_text("first")
        with written_whole(target) as second:
            second.write_text("second")
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("kind", ["same", "spelling", "symbolic", "hard", "folder"])
def test_writing_over_what_is_read_is_refused(kind: str, tmp_path: Path) -> None:
    source, other = tmp_path / "a", tmp_path / "b"
    source.mkdir() if kind == "folder" else source.write_bytes(b"x")
    if kind in ("symbolic", "folder"):
        other.symlink_to(source)
    elif kind == "hard":
        other.hardlink_to(source)
    target = {"same": source, "spelling": tmp_path / "." / "c" / ".." / "a"}.get(kind, other)
    with pytest.raises(ValueError, match=re.escape(f"{target} is what would be read, {source}; write to another")):
        check_other_file(source, target)


def test_writing_over_a_file_of_a_store_that_is_read_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", num_samples=2, grid=(2, 2), codebook_size=4, code_dim=2)
    (tmp_path / "link").symlink_to(store / "codebook.npy")
    for target in (store / "codebook.npy", store / "header.json", tmp_path / "link"):
        with pytest.raises(ValueError, match=f"{target.name} is what would be read, .*store; write to another file"):
            check_other_file(store, target)
    check_other_file(store, store / "new.json")


def test_writing_elsewhere_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    check_other_file(tmp_path / "a", tmp_path / "b")
    check_other_file(tmp_path / "a", tmp_path / "none" / "c")
    check_other_file(tmp_path / "none", tmp_path / "b")
