"""The token store: writing, killing, resuming, reading, damage, statistics, and the documented format."""

import errno
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seitpp.benchmarking.synthetic import make_store
from seitpp.storage import (
    NotAStoreError,
    StoreReader,
    StoreWriter,
    conditional_bits,
    copy_store,
    open_source,
    store_stats,
    subset_store,
)
from seitpp.storage import header as store_header
from seitpp.storage.header import read_header, write_header

K, GRID, NUM = 391, (4, 6), 25
SMALL_SHARDS = 78 + 10 * (27 + 1 + 4)  # ten samples of 27 token bytes, one label byte, four checksum bytes
DOCS = Path(__file__).resolve().parents[2] / "docs" / "storage_format.md"


def toy(num: int = NUM) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, K, (num, *GRID)).astype(np.int64), rng.integers(0, 5, num)


def begin(path: Path, **options: Any) -> StoreWriter:
    settings_ = {
        "codebook_size": K,
        "grid": GRID,
        "tokenizer": {"name": "toy", "preprocessing": {"size": [8, 8]}},
        "codebook": np.linspace(-1, 1, K * 3, dtype=np.float32).reshape(K, 3),
        "label_kind": "class",
        "classes": list("abcde"),
        "shard_bytes": SMALL_SHARDS,
        "source": {"image_bytes": 1234},
    }
    return StoreWriter(path, **{**settings_, **options})


def write(path: Path, **options: Any) -> Path:
    with begin(path, **options) as writer:
        writer.append(*toy())
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def flip(path: Path, offset: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("codec", ["bitpacked", "raw", "zstd"])
def test_store_gives_back_what_was_written(tmp_path: Path, codec: str) -> None:
    reader = StoreReader(write(tmp_path / "s", codec=codec))
    tokens, labels = toy()
    assert len(reader) == NUM and reader.grid == GRID and reader.codebook_size == K
    assert reader.classes == list("abcde") and reader.header["tokenizer"]["name"] == "toy"
    np.testing.assert_array_equal(reader.read_all(), tokens)
    assert reader.read_all().dtype == np.uint16
    np.testing.assert_array_equal(reader.labels, labels)
    assert reader.labels.dtype == np.int64 and reader.codebook.shape == (K, 3)
    assert reader.num_bytes == sum(file.stat().st_size for file in (tmp_path / "s").iterdir())
    assert reader.verify() == []


def test_shard_size_equals_its_formula(tmp_path: Path) -> None:
    reader = StoreReader(write(tmp_path / "s"))
    assert [shard["num_samples"] for shard in reader.header["shards"]] == [10, 10, 5]
    # 64 header, rows of ceil(24 * 9 / 8) = 27 bytes, labels of 1 and checksums of 4 bytes, sections aligned to 8
    assert (tmp_path / "s" / "shard-00000.bin").stat().st_size == 64 + 272 + 16 + 40
    assert (tmp_path / "s" / "shard-00002.bin").stat().st_size == 64 + 136 + 8 + 20


@given(indices=st.lists(st.integers(0, NUM - 1), max_size=40))
@settings(max_examples=50, deadline=None)
def test_random_access_equals_sequential(tmp_path_factory: pytest.TempPathFactory, indices: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "random-access"
    reader = StoreReader(path if path.exists() else write(path))
    np.testing.assert_array_equal(reader.read(indices), toy()[0][indices])
    np.testing.assert_array_equal(reader.read(np.array(indices, np.uint8)), toy()[0][indices])


@pytest.mark.parametrize("index", [slice(None), slice(7, 22), slice(20, 3, -4), slice(25, None), slice(9, 4)])
def test_slices_follow_python(tmp_path: Path, index: slice) -> None:
    np.testing.assert_array_equal(StoreReader(write(tmp_path / "s")).read(index), toy()[0][index])


@pytest.mark.parametrize("index", [NUM, -1])
def test_index_out_of_range_is_refused(tmp_path: Path, index: int) -> None:
    reader = StoreReader(write(tmp_path / "s"))
    with pytest.raises(IndexError, match=f"index {index} is out of range for 25 samples"):
        reader.read([3, index])


@pytest.mark.parametrize("indices", [[0.5], [True, False], [[1]], 3])
def test_indices_that_are_no_list_of_integers_are_refused(tmp_path: Path, indices: Any) -> None:
    reader = StoreReader(write(tmp_path / "s"))
    with pytest.raises(ValueError, match="expected a list of integers or a slice"):
        reader.read(indices)


def test_reader_survives_pickling(tmp_path: Path) -> None:
    reader = StoreReader(write(tmp_path / "s"))
    reader.read([0, 24])
    data = pickle.dumps(reader)
    assert len(data) < 20_000
    np.testing.assert_array_equal(pickle.loads(data).read([24, 3]), toy()[0][[24, 3]])


@pytest.mark.parametrize("size", [1, 2, 256, 257, 2**16 + 1, 2**18])
def test_codebook_sizes_without_labels(tmp_path: Path, size: int) -> None:
    tokens = np.random.default_rng(1).integers(0, size, (3, 2, 3))
    options = {"codebook": None, "label_kind": "none", "classes": None}
    with begin(tmp_path / "s", codebook_size=size, grid=(2, 3), **options) as writer:
        writer.append(tokens)
    reader = StoreReader(tmp_path / "s")
    np.testing.assert_array_equal(reader.read([2, 0]), tokens[[2, 0]])
    assert reader.labels is None and reader.codebook is None and reader.codebook_sha256 is None
    assert reader.verify() == []


def test_segmentation_store_has_no_label_bytes(tmp_path: Path) -> None:
    with begin(tmp_path / "s", label_kind="segmentation") as writer:
        writer.append(toy()[0])
    reader = StoreReader(tmp_path / "s")
    assert reader.labels is None and reader.section_bytes["labels"] == 0
    assert reader.header["labels"] == {"kind": "segmentation", "dtype": None}


@pytest.mark.parametrize(("classes", "dtype"), [(256, "uint8"), (257, "uint16"), (None, "uint16")])
def test_labels_take_the_smallest_type(tmp_path: Path, classes: int | None, dtype: str) -> None:
    names = None if classes is None else [str(i) for i in range(classes)]
    reader = StoreReader(write(tmp_path / "s", classes=names))
    assert reader.header["labels"]["dtype"] == dtype
    np.testing.assert_array_equal(reader.labels, toy()[1])


# Writing: what is refused


def test_code_out_of_range_names_sample_position_and_value(tmp_path: Path) -> None:
    tokens, labels = toy()
    with begin(tmp_path / "s") as writer:
        writer.append(tokens, labels)
        for value in (K, -1):
            tokens[2, 1, 5] = value
            with pytest.raises(ValueError, match=rf"sample 27: code {value} at row 1, column 5 is not in \[0, 391\)"):
                writer.append(tokens, labels)
        assert writer.num_samples == NUM


@pytest.mark.parametrize(
    ("tokens", "labels", "message"),
    [
        (np.zeros((2, 4, 6)), [0, 0], "tokens have type float64, expected integers"),
        (np.zeros((2, 6, 4), int), [0, 0], r"shape \(2, 6, 4\), expected \(n, 4, 6\)"),
        (np.zeros((2, 4, 6), int), [0], r"labels are int64 of shape \(1,\), expected integers \(2,\)"),
        (np.zeros((2, 4, 6), int), [0, 1.5], "labels are float64"),
        (np.zeros((2, 4, 6), int), [0, 5], r"sample 1: label 5 is not in \[0, 5\) \(5 classes\)"),
        (np.zeros((2, 4, 6), int), [-1, 0], r"sample 0: label -1 is not in \[0, 5\)"),
        (np.zeros((2, 4, 6), int), None, "labels are missing"),
    ],
)
def test_bad_samples_are_refused(tmp_path: Path, tokens: np.ndarray, labels: Any, message: str) -> None:
    with begin(tmp_path / "s") as writer, pytest.raises(ValueError, match=message):
        writer.append(tokens, labels)


def test_labels_nobody_asked_for_are_refused(tmp_path: Path) -> None:
    with (
        begin(tmp_path / "s", label_kind="none") as writer,
        pytest.raises(ValueError, match="labels were given, but the label kind of the store is 'none'"),
    ):
        writer.append(*toy())


def test_label_beyond_its_type_is_refused(tmp_path: Path) -> None:
    with begin(tmp_path / "s", classes=None) as writer, pytest.raises(ValueError, match=r"label 65536 .*label_dtype"):
        writer.append(toy(1)[0], np.array([65536]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (4,)}, r"grid is \(4,\), expected two positive integers"),
        ({"grid": (0, 4)}, r"grid is \(0, 4\)"),
        ({"codec": "zip"}, "codec is 'zip'"),
        ({"label_kind": "boxes"}, "label kind is 'boxes', expected one of none, class, segmentation"),
        ({"label_dtype": "int8"}, "label dtype is 'int8'"),
        ({"codebook": np.zeros((3, 2))}, r"codebook is float64 of shape \(3, 2\), expected floats \(391, D\)"),
        ({"tokenizer": {"name": object()}}, "tokenizer cannot be written as JSON"),
        ({"synonyms": {0: [391]}}, r"synonyms of code 0 are \[391\]"),
        ({"shard_bytes": 0}, "shard_bytes is 0"),
        ({"shard_bytes": 2**70}, f"shard_bytes is {2**70}, expected a positive number up to {2**40}"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_existing_folder_is_refused_without_resume(tmp_path: Path) -> None:
    write(tmp_path / "s")
    with pytest.raises(FileExistsError, match="pass resume=True"):
        begin(tmp_path / "s")


def test_foreign_folder_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(NotAStoreError, match=r"not a token store: it has 'thesis.tex'"):
        begin(tmp_path, resume=True)


def test_closed_and_complete_stores_take_no_samples(tmp_path: Path) -> None:
    writer = begin(tmp_path / "s")
    writer.append(*toy())
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="the writer is closed"):
        writer.append(*toy())
    with begin(tmp_path / "s", resume=True) as again:
        assert again.complete and again.num_committed == NUM
        with pytest.raises(ValueError, match="the store is complete"):
            again.append(*toy())


# Killing and resuming


@pytest.mark.parametrize("batch", [1, 7, 10, 25])
def test_files_do_not_depend_on_batches(tmp_path: Path, batch: int) -> None:
    tokens, labels = toy()
    with begin(tmp_path / "a") as writer:
        for start in range(0, NUM, batch):
            writer.append(tokens[start : start + batch], labels[start : start + batch])
    assert contents(tmp_path / "a") == contents(write(tmp_path / "b"))


def test_killed_writer_resumes_to_identical_files(tmp_path: Path) -> None:
    tokens, labels = toy()
    path = tmp_path / "killed"
    writer = begin(path)
    writer.append(tokens[:23], labels[:23])  # 20 committed, 3 in the open shard
    assert (writer.num_samples, writer.num_committed) == (23, 20)
    del writer  # never closed
    (path / "shard-00002.bin.tmp").write_bytes(b"half of a sh")
    (path / "header.json.tmp").write_bytes(b"{")
    (path / "shard-00002.bin").write_bytes(b"renamed, but not yet in the header")
    with begin(path, resume=True) as again:
        assert again.num_committed == 20
        again.append(tokens[20:], labels[20:])
    assert contents(path) == contents(write(tmp_path / "whole"))


def list_of(path: Path) -> Path:
    return path / "shards.jsonl"


@pytest.mark.parametrize("torn", [b"", b'{"file": "shard-0'])
def test_killed_writer_leaves_a_list_of_shards(tmp_path: Path, torn: bytes) -> None:
    tokens, labels = toy()
    begin(path := tmp_path / "killed").append(tokens[:23], labels[:23])
    assert json.loads((path / "header.json").read_text())["shards"] == []  # it is not written for each shard
    with open(list_of(path), "ab") as file:
        file.write(torn)
    reader = StoreReader(path, allow_incomplete=True)
    np.testing.assert_array_equal(reader.read_all(), tokens[:20])
    assert reader.verify() == []
    again = begin(path, resume=True)
    assert again.num_committed == 20 and not list_of(path).exists()  # the header lists them now
    listed = json.loads((path / "header.json").read_text())["shards"]
    assert [shard["num_samples"] for shard in listed] == [10, 10]
    del again
    lines = b"".join(json.dumps(shard).encode() + b"\n" for shard in listed)
    list_of(path).write_bytes(lines)  # killed before it was removed
    assert len(StoreReader(path, allow_incomplete=True)) == 20
    with begin(path, resume=True) as again:
        assert again.num_committed == 20
        again.append(tokens[20:], labels[20:])
    assert contents(path) == contents(write(tmp_path / "whole"))
    list_of(path).write_bytes(lines)  # killed right after the last header
    assert len(StoreReader(path)) == NUM
    with begin(path, resume=True) as again:
        assert again.complete
    assert contents(path) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{\n", r"shards\.jsonl is damaged or is not valid JSON"),
        (b'{"file": "../shard-00002.bin"}\n', r"shards\.jsonl: shard 2: file is named in .*expected a plain file name"),
        (b'{"file": "shard-00002.bin", "num_samples": 1}\n', r"shards\.jsonl: shard 2 is .*expected the fields"),
        (b"[]\n", r"shards\.jsonl: shard 2"),
    ],
)
def test_damaged_list_of_shards_is_refused(tmp_path: Path, line: bytes, message: str) -> None:
    begin(tmp_path / "s").append(*(part[:23] for part in toy()))
    with open(list_of(tmp_path / "s"), "ab") as file:
        file.write(line)
    for use in (lambda: StoreReader(tmp_path / "s", allow_incomplete=True), lambda: begin(tmp_path / "s", resume=True)):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize("order", [[1], [1, 0], [0, 0, 1], [0, 1, 1]])
def test_list_of_shards_with_a_gap_or_out_of_order_is_refused(tmp_path: Path, order: list[int]) -> None:
    begin(path := tmp_path / "s").append(*(part[:23] for part in toy()))
    lines = list_of(path).read_bytes().splitlines(keepends=True)
    list_of(path).write_bytes(b"".join(lines[number] for number in order))
    for use in (lambda: StoreReader(path, allow_incomplete=True), lambda: begin(path, resume=True)):
        with pytest.raises(ValueError, match=r"shards\.jsonl lists shard-.* where shard-.* is the next"):
            use()


def test_reader_of_a_store_that_is_completed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = begin(tmp_path / "s")
    writer.append(*toy())
    read = store_header.read_file

    def slow_read(path: Path, *args: Any, **options: Any) -> bytes:
        if path == list_of(tmp_path / "s"):  # after the old header was read
            writer.close()
        return read(path, *args, **options)

    monkeypatch.setattr(store_header, "read_file", slow_read)
    assert len(StoreReader(tmp_path / "s")) == NUM


def test_list_of_shards_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, labels = toy()
    writer = begin(tmp_path / "s")
    writer.append(tokens[:10], labels[:10])
    before = list_of(tmp_path / "s").read_bytes()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("seitpp.storage.writer.write_whole", lambda path, content: path.write_bytes(content))
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match=r"cannot write, No space left on device: '.*shards\.jsonl'"):
            writer.append(tokens[10:20], labels[10:20])
    assert writer.num_committed == 10 and list_of(tmp_path / "s").read_bytes() == before


def test_second_writer_is_kept_out(tmp_path: Path) -> None:
    tokens, labels = toy()
    first = begin(tmp_path / "s", resume=True)
    first.append(tokens[:12], labels[:12])
    with pytest.raises(BlockingIOError, match=r"another writer is at work in the store .*; wait until it has ended"):
        begin(tmp_path / "s", resume=True)
    first.append(tokens[12:], labels[12:])
    first.close()
    with begin(tmp_path / "s", resume=True) as again:
        assert again.num_committed == NUM
    assert contents(tmp_path / "s") == contents(write(tmp_path / "whole"))


def test_store_that_lost_its_header_is_not_written_over(tmp_path: Path) -> None:
    (write(tmp_path / "s") / "header.json").unlink()
    before = contents(tmp_path / "s")
    with pytest.raises(NotAStoreError, match=r"it has 'shard-00000\.bin', no header\.json"):
        begin(tmp_path / "s", resume=True)
    assert contents(tmp_path / "s") == before


def test_unfinished_store_with_a_damaged_shard_is_not_continued(tmp_path: Path) -> None:
    tokens, labels = toy()
    begin(tmp_path / "s").append(tokens[:23], labels[:23])
    flip(tmp_path / "s" / "shard-00001.bin", 70)
    with pytest.raises(ValueError, match=r"shard-00001\.bin was damaged after it was written.*delete .* write"):
        begin(tmp_path / "s", resume=True)


def test_full_disk_names_the_file(tmp_path: Path) -> None:
    writer = begin(tmp_path / "s")
    (tmp_path / "s" / "shard-00000.bin").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*shard-00000\.bin'"):
        writer.append(*toy())
    assert writer.num_committed == 0


def test_exception_drops_the_open_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"), begin(tmp_path / "s") as writer:
        writer.append(*toy())
        raise RuntimeError("power cut")
    with pytest.raises(ValueError, match=r"incomplete: 20 samples are committed.*resume=True"):
        StoreReader(tmp_path / "s")
    reader = StoreReader(tmp_path / "s", allow_incomplete=True)
    np.testing.assert_array_equal(reader.read_all(), toy()[0][:20])
    shards = ["shard-00000.bin", "shard-00001.bin"]
    assert sorted(contents(tmp_path / "s")) == ["codebook.npy", "header.json", *shards, "shards.jsonl"]


def test_resume_starts_where_nothing_was_committed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "codebook.npy.tmp").write_bytes(b"x")
    with begin(tmp_path / "s", resume=True) as writer:
        writer.append(*toy())
    assert StoreReader(tmp_path / "s").verify() == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"tokenizer": {"name": "other"}}, "tokenizer"),
        ({"codebook_size": 392, "codebook": None}, "codebook_size"),
        ({"codebook": None}, "codebook"),
        ({"grid": (6, 4)}, "grid"),
        ({"codec": "raw"}, "codec"),
        ({"label_kind": "none"}, "labels"),
        ({"classes": list("abcdf")}, "classes"),
        ({"shard_bytes": 9999}, "samples_per_shard"),
        ({"source": {"image_bytes": 5}}, "source"),
        ({"synonyms": {0: [1]}}, "synonyms"),
    ],
)
def test_resume_with_other_settings_names_the_difference(tmp_path: Path, options: dict, name: str) -> None:
    write(tmp_path / "s")
    with pytest.raises(ValueError, match=f"cannot resume, {name} is "):
        begin(tmp_path / "s", resume=True, **options)


def test_unfinished_store_is_not_continued_without_the_source_that_it_was_begun_with(tmp_path: Path) -> None:
    begin(tmp_path / "s")
    with pytest.raises(ValueError, match=r"cannot resume, source is \{\}, but .* \{'image_bytes'"):
        begin(tmp_path / "s", resume=True, source={})


def test_resume_without_the_synonyms_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", synonyms={0: [1, 2]})
    assert StoreReader(tmp_path / "s").synonyms == {0: [1, 2]}
    with pytest.raises(ValueError, match="begun with synonyms"):
        begin(tmp_path / "s", resume=True)


def test_source_can_be_completed_at_the_end(tmp_path: Path) -> None:
    with begin(tmp_path / "s") as writer:
        writer.append(*toy())
        writer.update_source({"seconds": 7})
    assert StoreReader(tmp_path / "s").header["source"] == {"image_bytes": 1234, "seconds": 7}
    with begin(tmp_path / "s", resume=True) as again:
        assert again.complete


# Reading: damage


def test_empty_store_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "s").close()
    with pytest.raises(ValueError, match="holds no samples"):
        StoreReader(tmp_path / "s")


def test_missing_header_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match=r"not a token store: it has no header\.json"):
        StoreReader(tmp_path)


def test_truncated_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s") / "header.json"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"header\.json is damaged or is not valid JSON"):
        StoreReader(tmp_path / "s")


def test_every_flipped_bit_in_the_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s") / "header.json"
    content = path.read_bytes()
    original = json.loads(content)
    for offset in range(0, len(content), 5):
        flip(path, offset, offset % 8)
        if not _loads_equal(path, original):  # white space may turn into other white space
            with pytest.raises(ValueError, match=r"header\.json"):
                StoreReader(tmp_path / "s")
        path.write_bytes(content)


def _loads_equal(path: Path, original: dict) -> bool:
    try:
        return json.loads(path.read_bytes()) == original
    except ValueError:
        return False


def test_edited_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s") / "header.json"
    path.write_text(path.read_text().replace('"toy"', '"vqgan"'))
    with pytest.raises(ValueError, match="header_sha256 does not match, the header was damaged or edited by hand"):
        StoreReader(tmp_path / "s")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, "format is 'zip', expected 'seitpp-token-store'"),
        ({"version": 3}, "version is 3, this release of seitpp reads versions 1 and 2; install a newer one"),
        ({"grid": [0, 3]}, "grid is"),
        ({"num_samples": 3}, "num_samples is 3, but the shards hold 25"),
        ({"codec": {"name": "bitpacked", "bits": 8}}, "expected .*'bits': 9"),
        ({"classes": 5}, "classes is 5"),
        ({"shards": [{"file": "../x", "num_samples": 25}]}, "expected a plain file name"),
        ({"shards": [{"file": "x", "num_samples": 25}]}, "shard 0 is .*expected the fields"),
        ({"labels": {"kind": "none", "dtype": "uint8"}}, "expected null"),
    ],
)
def test_wrong_header_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = write(tmp_path / "s")
    write_header(path, {**read_header(path), **changes})
    with pytest.raises(ValueError, match=message):
        StoreReader(path)


@pytest.mark.parametrize("size", [0, 10, 100, 391, 393])
def test_shard_of_wrong_size_is_refused(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "s") / "shard-00001.bin"
    path.write_bytes((path.read_bytes() + b"x")[:size])
    with pytest.raises(ValueError, match=rf"shard-00001\.bin has {size} bytes, expected 392 for 10 samples"):
        StoreReader(tmp_path / "s")


def test_all_bad_shards_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s")
    (path / "shard-00000.bin").unlink()
    flip(path / "shard-00001.bin", 16)
    flip(path / "shard-00002.bin", 0)
    message = r"00000\.bin is missing; .*00001\.bin: the 64-byte shard header contradicts.*; .*00002\.bin starts with"
    with pytest.raises(ValueError, match=message):
        StoreReader(path)


def test_verify_names_shard_and_sample_of_a_flipped_bit(tmp_path: Path) -> None:
    path = write(tmp_path / "s")
    flip(path / "shard-00001.bin", 64 + 3 * 27, bit=0)  # tokens of sample 13
    flip(path / "shard-00002.bin", 64 + 136 + 2)  # label of sample 22
    problems = StoreReader(path).verify()
    assert len(problems) == 2
    assert re.search(r"shard-00001\.bin: sample 13 is damaged, CRC-32 is", problems[0])
    assert re.search(r"shard-00002\.bin: sample 22 is damaged", problems[1])


def test_verify_reports_damage_between_the_samples(tmp_path: Path) -> None:
    flip(write(tmp_path / "s") / "shard-00000.bin", 64 + 271)  # padding
    assert re.search(r"shard-00000\.bin: SHA-256 differs", StoreReader(tmp_path / "s").verify()[0])


def test_flip_to_a_code_that_does_not_exist_is_refused_in_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "s", codec="raw")
    flip(path / "shard-00001.bin", 64 + 4 * 48 + 1, bit=7)  # high byte of the first code of sample 10
    reader = StoreReader(path)
    for index in ([0, 10], slice(None)):
        with pytest.raises(
            ValueError, match=r"shard-00001\.bin: sample 10 holds code 3\d{4}, expected codes below 391"
        ):
            reader.read(index)
    np.testing.assert_array_equal(reader.read([9, 11]), toy()[0][[9, 11]])
    assert any("sample 10 holds code" in line for line in reader.verify())


def test_verify_reports_progress_in_bytes(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    StoreReader(write(tmp_path / "s")).verify(lambda done, total: calls.append((done, total)))
    assert calls[-1] == (392 + 392 + 228, 392 + 392 + 228)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"codebook\.npy is missing"),
        (lambda path: path.write_bytes(b"no"), r"codebook\.npy is damaged"),
        (lambda path: flip(path, 500), r"codebook\.npy: SHA-256 of the codebook is"),
        (lambda path: np.save(path, np.zeros((K, 4), np.float32)), r"float32 of shape \(391, 4\), expected"),
    ],
)
def test_bad_codebook_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    damage(write(tmp_path / "s") / "codebook.npy")
    with pytest.raises(ValueError, match=message):
        StoreReader(tmp_path / "s")


def test_bad_synonyms_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s", synonyms={0: [1, 2]}) / "synonyms.json"
    path.write_text('{"0": [2, 1]}')
    with pytest.raises(ValueError, match=r"synonyms\.json: SHA-256 differs"):
        StoreReader(tmp_path / "s")
    path.unlink()
    with pytest.raises(ValueError, match=r"synonyms\.json is missing"):
        StoreReader(tmp_path / "s")


# Copies, hashes, statistics, documentation


def test_copy_changes_the_codec_and_nothing_else(tmp_path: Path) -> None:
    first = StoreReader(write(tmp_path / "a", synonyms={1: [2]}))
    copy_store(first, tmp_path / "b", codec="raw", shard_bytes=10**6)
    second = StoreReader(tmp_path / "b")
    copy_store(second, tmp_path / "c", codec="bitpacked", shard_bytes=SMALL_SHARDS)
    first_files, third_files = contents(tmp_path / "a"), contents(tmp_path / "c")
    del first_files["header.json"], third_files["header.json"]
    assert first_files == third_files and StoreReader(tmp_path / "c").content_hash == first.content_hash
    np.testing.assert_array_equal(second.read_all(), toy()[0])
    assert second.header["source"] == {"image_bytes": 1234, "copied_from": first.content_hash}
    assert first.content_hash != second.content_hash and first.codebook_sha256 == second.codebook_sha256


def _stop(done: int, total: int) -> None:
    raise KeyboardInterrupt


def _interrupted_copy(source: Path, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy_store(StoreReader(source), path, shard_bytes=SMALL_SHARDS, progress=_stop)


def test_interrupted_copy_resumes_to_the_same_files(tmp_path: Path) -> None:
    _interrupted_copy(write(tmp_path / "a"), tmp_path / "b")
    copy_store(StoreReader(tmp_path / "a"), tmp_path / "b", shard_bytes=SMALL_SHARDS, resume=True)
    copy_store(StoreReader(tmp_path / "a"), tmp_path / "c", shard_bytes=SMALL_SHARDS)
    assert contents(tmp_path / "b") == contents(tmp_path / "c")


def test_copy_is_not_resumed_from_another_store(tmp_path: Path) -> None:
    _interrupted_copy(write(tmp_path / "a"), tmp_path / "copy")
    tokens, labels = toy()
    tokens[24, 3, 5] ^= 1  # in a sample that the copy has not reached
    with begin(tmp_path / "b") as writer:
        writer.append(tokens, labels)
    before = contents(tmp_path / "copy")
    with pytest.raises(ValueError, match=r"cannot resume, source is .*copied_from"):
        copy_store(StoreReader(tmp_path / "b"), tmp_path / "copy", shard_bytes=SMALL_SHARDS, resume=True)
    assert contents(tmp_path / "copy") == before


def test_open_source_opens_stores(tmp_path: Path) -> None:
    assert len(open_source(write(tmp_path / "a"))) == NUM
    _interrupted_copy(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ValueError, match="incomplete: 20 samples"):
        open_source(tmp_path / "b")
    assert len(open_source(str(tmp_path / "b"), allow_incomplete=True)) == 20
    with pytest.raises(NotAStoreError, match="not a token store"):
        open_source(tmp_path / "nowhere")


def test_content_hash_ignores_where_samples_come_from(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", source={"other": True})
    assert StoreReader(first).content_hash == StoreReader(second).content_hash
    third = write(tmp_path / "c", classes=list("abcdz"))
    assert StoreReader(first).content_hash != StoreReader(third).content_hash


def test_stats_of_uniform_codes(tmp_path: Path) -> None:
    options = {"codebook_size": 16, "codebook": None, "grid": (2, 4), "shard_bytes": 200}
    with begin(tmp_path / "s", **options) as writer:
        writer.append(np.tile(np.arange(8).reshape(1, 2, 4), (6, 1, 1)), np.array([0, 0, 1, 2, 3, 0]))
    reader = StoreReader(tmp_path / "s")
    stats = store_stats(reader)
    assert (stats["num_samples"], stats["codes_used"], stats["codebook_size"]) == (6, 8, 16)
    assert stats["entropy_bits"] == pytest.approx(3) and stats["perplexity"] == pytest.approx(8)
    assert stats["entropy_bound_bytes"] == pytest.approx(3)
    assert (stats["token_bytes"], stats["label_bytes"], stats["checksum_bytes"]) == (4, 1, 4)
    assert stats["total_bytes"] == pytest.approx(reader.num_bytes / 6)
    assert (stats["num_labelled_classes"], stats["samples_per_class_min"], stats["samples_per_class_max"]) == (4, 0, 3)


def test_stats_of_a_single_code_without_labels(tmp_path: Path) -> None:
    with begin(tmp_path / "s", label_kind="none") as writer:
        writer.append(np.zeros((3, *GRID), int))
    stats = store_stats(StoreReader(tmp_path / "s"))
    assert (stats["entropy_bits"], stats["perplexity"], stats["samples_per_class_min"]) == (0.0, 1.0, None)


def test_held_out_bits_lie_between_zero_and_order_zero() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (400, 8, 8, 1))
    for column in range(1, 8):  # four fifths of the codes follow from their left neighbour
        same = rng.random((400, 8, 1)) < 0.8
        codes[:, :, column] = np.where(same, (codes[:, :, column - 1] + 1) % 16, codes[:, :, column])
    bits = conditional_bits(codes[:200], codes[200:], 16)
    assert 1.5 + 0.25 * 0.5 < bits < 2.2  # about H(0.8) + 0.2 * log2(16), and the first column 4 bits
    noise = rng.integers(0, 16, (400, 8, 8, 1))
    assert conditional_bits(noise[:200], noise[200:], 16) == pytest.approx(4, abs=0.15)
    assert conditional_bits(noise, noise, 2**18, num_neighbours=0) == pytest.approx(4, abs=0.05)
    assert np.isfinite(conditional_bits(codes[:1], codes[1:], 2**18))


def documented_readers() -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2 and not any("seitpp" in block for block in blocks)
    return blocks


@pytest.mark.parametrize(("channels", "codebook_size"), [(None, 200), (None, 391), (1, 70_000), (3, 1000)])
def test_documented_reader_reads_frames(tmp_path: Path, channels: int | None, codebook_size: int) -> None:
    scope: dict[str, Any] = {}
    exec(documented_readers()[1], scope)
    rng = np.random.default_rng(0)
    runs = rng.integers(0, codebook_size, (9, 6)) - 2
    tokens = runs[rng.integers(0, 9, (300, 4 * (channels or 1)))].reshape(300, 4, 6, channels or 1)
    tokens = tokens if channels else tokens[..., 0]
    options = {"codebook_size": codebook_size, "codebook": None, "label_kind": "none", "classes": None}
    with begin(tmp_path / "s", **options, codec="zstd", channels=channels, minimum=-2, shard_bytes=6000) as writer:
        writer.append(tokens)
    reader = StoreReader(tmp_path / "s")
    assert reader.section_bytes["tables"] > 8 * len(reader.header["shards"])  # some have a dictionary
    np.testing.assert_array_equal(scope["read_zstd_store"](tmp_path / "s"), tokens)


def test_documented_reader_reads_a_store(tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(documented_readers()[0], scope)
    tokens, labels = scope["read_store"](write(tmp_path / "s"))
    np.testing.assert_array_equal(tokens, toy()[0])
    np.testing.assert_array_equal(labels, toy()[1])


def test_storage_imports_neither_torch_nor_mmengine() -> None:
    code = "import sys, seitpp.storage; sys.exit(bool({'torch', 'mmengine'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=DOCS.parents[1], check=False).returncode == 0


@pytest.mark.parametrize("change", ["copy", "subset"])
def test_copy_of_a_damaged_store_is_refused(tmp_path: Path, change: str) -> None:
    path = make_store(tmp_path / "store", num_samples=5, grid=(4, 4), codebook_size=16)
    shard = path / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[64] ^= 1  # the first code
    shard.write_bytes(content)
    reader = StoreReader(path)
    with pytest.raises(ValueError, match=r"shard-00000.bin: sample 0 is damaged.*restore or make the store again"):
        if change == "copy":
            copy_store(reader, tmp_path / "copy", codec="raw")
        else:
            subset_store(reader, tmp_path / "copy", np.arange(16))


def png(value: int) -> bytes:
    """A grey label map of one value, written by hand."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes([0, value] * 4)))]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in [*parts, (b"IEND", b"")]:
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return content


def seg_store(path: Path, *, late: bool = False) -> Path:
    """A store of two samples with label maps; those of a `late` one are written after it, as earlier versions did."""
    maps = [(path / "labels" / f"0000000{number}.png", png(number)) for number in range(2)]
    with StoreWriter(
        path, codebook_size=4, grid=(2, 2), tokenizer={"name": "toy"}, label_kind="segmentation"
    ) as writer:
        writer.append(np.zeros((2, 2, 2), int))
        (path / "labels").mkdir()
        for name, content in () if late else maps:
            name.write_bytes(content)
    for name, content in maps:
        name.write_bytes(content)
    return path


@pytest.mark.parametrize("late", [False, True])
def test_copy_takes_label_maps_along(tmp_path: Path, late: bool) -> None:
    reader = StoreReader(seg_store(tmp_path / "store", late=late))
    assert (reader.label_map_checksums is None) == late
    copy_store(reader, tmp_path / "copy", codec="raw")
    copied = {path.name: path.read_bytes() for path in (tmp_path / "copy" / "labels").iterdir()}
    assert copied == {"00000000.png": png(0), "00000001.png": png(1)}
    copy = StoreReader(tmp_path / "copy")
    assert copy.label_map_checksums.tolist() == [zlib.crc32(png(0)), zlib.crc32(png(1))]
    assert copy.verify() == [] and copy.content_hash != reader.content_hash
    copy_store(copy, tmp_path / "again")
    copy_store(reader, tmp_path / "same")
    assert StoreReader(tmp_path / "again").content_hash == StoreReader(tmp_path / "same").content_hash


@pytest.mark.parametrize("late", [False, True])
def test_every_flipped_bit_of_a_label_map_is_found(tmp_path: Path, late: bool) -> None:
    reader, path = StoreReader(seg_store(tmp_path / "store", late=late)), tmp_path / "store" / "labels" / "00000001.png"
    for place in range(len(png(1))):
        flip(path, place, place % 8)
        assert [problem.partition(" is")[0] for problem in reader.verify()] == [str(path)]
        with pytest.raises(ValueError, match=r"00000001\.png .*[Cc]opy or make the store again"):
            copy_store(reader, tmp_path / f"copy{place}")
        assert not read_header(tmp_path / f"copy{place}")["complete"]
        flip(path, place, place % 8)
    assert reader.verify() == []


def test_label_maps_that_are_missing_or_exchanged_are_found(tmp_path: Path) -> None:
    reader, folder = StoreReader(seg_store(tmp_path / "store")), tmp_path / "store" / "labels"
    (folder / "00000000.png").rename(folder / "x")
    (folder / "00000001.png").rename(folder / "00000000.png")
    (problem, missing) = reader.verify()
    assert "00000000.png is not the label map that the store was made with: its CRC-32 is" in problem
    assert "label map" in missing and "00000001.png does not exist" in missing
    with pytest.raises(ValueError, match=r"00000000\.png is not the label map that the store was made with"):
        reader.read_label_map(0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"label_maps\.npy is missing, the header names it as label_maps"),
        (lambda path: flip(path, 130), r"label_maps\.npy: SHA-256 of the label maps is .*, expected"),
        (lambda path: path.write_bytes(b"x"), r"label_maps\.npy is damaged or is not a \.npy file"),
        (lambda path: np.save(path, np.zeros(3, np.uint32)), r"holds uint32 of shape \(3,\), expected uint32 \(2,\)"),
    ],
)
def test_damaged_record_of_label_maps_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    damage(seg_store(tmp_path / "store") / "label_maps.npy")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        StoreReader(tmp_path / "store")


# A store that changes while it is open


@pytest.mark.parametrize("codec", ["raw", "bitpacked", "zstd"])
@pytest.mark.parametrize("in_place", [True, False])
def test_tokens_of_another_store_are_not_read(tmp_path: Path, codec: str, in_place: bool) -> None:
    tokens = toy()[0]
    for name, written in (("s", tokens), ("other", tokens[::-1])):
        with begin(tmp_path / name, codec=codec, label_kind="none", classes=None) as writer:
            writer.append(written)
    reader, path = StoreReader(tmp_path / "s"), tmp_path / "s" / "shard-00000.bin"
    data = pickle.dumps(reader)
    if not in_place:
        path.unlink()
    path.write_bytes((tmp_path / "other" / path.name).read_bytes())
    for opened in (reader, pickle.loads(data)):
        with pytest.raises(ValueError, match=r"shard-00000\.bin has changed since the store was opened"):
            opened.read([3])


def test_worker_reads_the_tokens_that_belong_to_its_labels(tmp_path: Path) -> None:
    reader = StoreReader(write(tmp_path / "s"))
    assert reader.read([3]) is not None
    data, path = pickle.dumps(reader), tmp_path / "s" / "shard-00000.bin"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # an exact copy, as on another machine
    np.testing.assert_array_equal(pickle.loads(data).read([3]), toy()[0][[3]])
    flip(path, 70)
    with pytest.raises(ValueError, match=r"shard-00000\.bin has changed since the store was opened"):
        pickle.loads(data).read([3])


def test_shard_that_was_shortened_after_opening_is_refused(tmp_path: Path) -> None:
    with begin(tmp_path / "s", label_kind="none", classes=None) as writer:
        writer.append(toy()[0])
    reader, path = StoreReader(tmp_path / "s"), tmp_path / "s" / "shard-00001.bin"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"shard-00001\.bin has changed .* bytes then, 100 now\): open the"):
        reader.read_all()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"shard .*shard-00001\.bin does not exist"):
        reader.read([12])


@pytest.mark.parametrize("codec", ["raw", "bitpacked", "zstd"])
@pytest.mark.parametrize("change", ["shortened", "overwritten"])
def test_open_shard_that_changes_is_refused_and_ends_no_process(tmp_path: Path, codec: str, change: str) -> None:
    reader = StoreReader(write(tmp_path / "s", codec=codec, shard_bytes=10**6))
    path = tmp_path / "s" / "shard-00000.bin"
    for _ in range(2):  # a shard that is read again is mapped
        np.testing.assert_array_equal(reader.read([3]), toy()[0][[3]])
    assert str(path) in Path("/proc/self/maps").read_text()
    if change == "shortened":
        os.truncate(path, 0)
    else:
        os.utime(path, (1, 1))
        np.testing.assert_array_equal(reader.read([3]), toy()[0][[3]])  # other times, the same content
        flip(path, 70)
    for read in (lambda: reader.read([3]), reader.read_all, lambda: copy_store(reader, tmp_path / "copy")):
        with pytest.raises(ValueError, match=r"shard-00000\.bin has changed since the store was opened"):
            read()
    (problem,) = reader.verify()
    assert "shard-00000.bin has changed since the store was opened" in problem


def test_open_shard_that_is_replaced_or_removed_stays_what_it_was(tmp_path: Path) -> None:
    reader = StoreReader(write(tmp_path / "s"))
    reader.read_all()
    for path in (tmp_path / "s").glob("*.bin"):
        path.unlink()
    np.testing.assert_array_equal(reader.read_all(), toy()[0])
    (tmp_path / "s" / "shard-00000.bin").write_bytes(b"x")
    np.testing.assert_array_equal(reader.read_all(), toy()[0])
    first, second, *_ = reader.verify()  # of what lies there now
    assert "shard-00000.bin has changed" in first and "shard-00001.bin does not exist" in second


# Codes beyond 16 bits


@pytest.mark.parametrize("size", [2**16 + 1, 2**18])
@pytest.mark.parametrize("code", [2**31, 2**32 - 1, 2**31 - 1, "size"])
def test_damaged_wide_codes_are_named_and_never_negative(tmp_path: Path, size: int, code: Any) -> None:
    options = {"codebook": None, "label_kind": "none", "classes": None, "codec": "raw"}
    with begin(tmp_path / "s", codebook_size=size, grid=(2, 3), **options) as writer:
        writer.append(np.full((3, 2, 3), size - 1))
    path, code = tmp_path / "s" / "shard-00000.bin", size if code == "size" else code
    content = bytearray(path.read_bytes())
    content[64 + 24 : 64 + 28] = struct.pack("<I", code)
    path.write_bytes(content)
    reader = StoreReader(tmp_path / "s")
    assert reader.read([0]).tolist() == [[[size - 1] * 3] * 2] and reader.dtype == np.int32
    with pytest.raises(ValueError, match=rf"sample 1 holds code {code}, expected codes below {size}"):
        reader.read([1])
    assert any("sample 1 is damaged" in problem for problem in reader.verify())


def test_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    write_header(write(tmp_path / "s"), {**read_header(tmp_path / "s"), "classes": ["a"]})
    reader = StoreReader(tmp_path / "s")
    with pytest.raises(ValueError, match=r"sample \d has the label \d, expected one of the 1 classes"):
        _ = reader.labels
    assert [line for line in reader.verify() if "expected one of the 1 classes" in line]
