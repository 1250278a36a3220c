"""Expanded copies: made once, found again, made by two at once, and refused when they are not what they should be."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import StoreReader, StoreWriter, copy_store, expand_store
from seitpp.storage import expand as expand_module


def write(path: Path, seed: int = 0, codec: str = "rans") -> StoreReader:
    with StoreWriter(path, codebook_size=20, grid=(2, 3), tokenizer={"name": "toy"}, codec=codec) as writer:
        writer.append(np.random.default_rng(seed).integers(0, 20, (9, 2, 3)))
    return StoreReader(path)


@pytest.mark.parametrize("codec", ["raw", "bitpacked"])
def test_copy_has_the_same_samples_and_is_found_again(tmp_path: Path, codec: str) -> None:
    reader = write(tmp_path / "s")
    copy = expand_store(reader, tmp_path / "cache", codec=codec)
    np.testing.assert_array_equal(copy.read_all(), reader.read_all())
    assert copy.header["codec"]["name"] == codec and copy.path.parent == tmp_path / "cache"
    before = copy.path.stat().st_mtime_ns
    assert expand_store(reader, tmp_path / "cache", codec=codec).path.stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{reader.content_hash}-{codec}"]
    other = expand_store(write(tmp_path / "t", seed=1), tmp_path / "cache", codec=codec)
    assert other.path != copy.path


def test_loser_of_a_race_uses_the_copy_of_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = write(tmp_path / "s")

    def slow_copy(*args, **kwargs) -> None:
        copy_store(*args, **kwargs)
        monkeypatch.setattr(expand_module, "copy_store", copy_store)
        expand_store(reader, tmp_path / "cache")  # another process, which is done first

    monkeypatch.setattr(expand_module, "copy_store", slow_copy)
    copy = expand_store(reader, tmp_path / "cache")
    np.testing.assert_array_equal(copy.read_all(), reader.read_all())
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_interrupted_copy_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand_store(write(tmp_path / "s"), tmp_path / "cache", progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_copy_that_is_damaged_or_of_another_store_is_refused(tmp_path: Path) -> None:
    reader = write(tmp_path / "s")
    path = expand_store(reader, tmp_path / "cache").path
    (path / "shard-00000.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"truncated or damaged; this is a copy of .*delete {path} to have it made"):
        expand_store(reader, tmp_path / "cache")
    shutil.rmtree(path)
    copy_store(write(tmp_path / "t", seed=1), path, codec="raw")
    with pytest.raises(ValueError, match=r"is a copy of store .*delete it"):
        expand_store(reader, tmp_path / "cache")


def test_codec_of_variable_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="codec is 'rans', expected raw or bitpacked"):
        expand_store(write(tmp_path / "s"), tmp_path / "cache", codec="rans")
