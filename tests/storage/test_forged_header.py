"""Headers that somebody forged and sealed again: each wrong value is named, nothing fills the memory or hangs."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seitpp.storage import CodeTable, NotAStoreError, StoreReader, StoreWriter
from seitpp.storage.header import codebook_sha256, header_bytes, read_header, sha256_hex

K = 300


def make(path: Path, codec: str = "zstd", **options: Any) -> Path:
    """A store of frames with a codebook, synonyms and a few labels."""
    rng = np.random.default_rng(0)
    settings = {"label_kind": "class", "classes": ["a", "b"], "codebook": np.ones((K, 2), np.float32)}
    settings |= {"synonyms": {0: [1]}, **options}
    with StoreWriter(path, codebook_size=K, grid=(3, 4), tokenizer={"name": "toy"}, codec=codec, **settings) as writer:
        writer.append(rng.integers(0, 9, (6, 3, 4)), rng.integers(0, 2, 6))
    return path


def forge(path: Path, where: str, value: Any) -> Path:
    """Set an entry such as `shards.0.file` and seal the header again."""
    header = {key: one for key, one in read_header(path).items() if key != "header_sha256"}
    *names, last = [int(name) if name.isdecimal() else name for name in where.split(".")]
    entry: Any = header
    for name in names:
        entry = entry[name]
    if value is KeyError:
        del entry[last]
    else:
        entry[last] = value
    (path / "header.json").write_bytes(header_bytes(header))
    return path


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("grid", [2**31, 2**31], r"grid is \[2147483648, 2147483648\], .* codes per sample, expected at most"),
        ("grid", [True, 4], r"grid is \[True, 4\]"),
        ("grid", KeyError, "grid is missing"),
        ("channels", None, "channels is None, expected an integer in 1..4096"),
        ("channels", 2**40, "codes per sample|channels is"),
        ("minimum", -5, "codebook is listed, but samples with channels or a minimum are no codes"),
        ("minimum", 2**31, "minimum is 2147483648"),
        ("codebook_size", 2**40, "codebook_size is 1099511627776"),
        ("codebook_size", True, "codebook_size is True"),
        ("num_samples", 2**62, "num_samples is 4611686018427387904, but the shards hold 6"),
        ("shards.0.num_samples", 2**62, "shard 0: num_samples is 4611686018427387904, expected an integer in 1.."),
        ("shards.0.num_samples", 6.0, r"shard 0: num_samples is 6\.0"),
        ("shards.0.num_bytes", 2**62, "shard 0: num_bytes is 4611686018427387904"),
        ("shards.0.num_bytes", "7", "shard 0: num_bytes is '7'"),
        ("shards.0.sha256", 7, "shard 0: sha256 is 7"),
        ("shards.0.sha256", "x" * 64, "shard 0: sha256 is 'xxx.*expected 64 hexadecimal digits"),
        ("shards.0.file", "../x", "shard 0: file is named in .*expected a plain file name"),
        ("shards.0.file", 0, "shard 0: file is named in"),
        ("shards.0.file", "a" * 300, "shard 0: file is named in"),
        ("shards.0", 5, "shard 0: file is named in 5"),
        ("labels.dtype", KeyError, "labels is {'kind': 'class'}, expected kind and dtype"),
        ("labels.kind", ["class"], r"label kind is \['class'\]"),
        ("labels.dtype", {}, "label dtype is {}"),
        ("codec.name", ["raw"], r"codec is \['raw'\], expected one of"),
        ("codec", [], r"codec is \[\]"),
        ("codebook.shape", [K, 2**40], r"codebook: shape is \[300, 1099511627776\]"),
        ("codebook.shape", [[K], 2], "codebook: shape is"),
        ("codebook.shape", KeyError, "codebook: shape is None"),
        ("codebook.file", KeyError, "codebook: file is named in"),
        ("codebook.dtype", "O", "codebook: dtype is 'O', expected 'float32'"),
        ("codebook", 3, "codebook is 3"),
        ("synonyms", {}, "synonyms: file is named in {}"),
        ("synonyms.sha256", None, "synonyms: sha256 is None"),
        ("code_table", {"file": "x", "sha256": "0" * 64, "codebook_size": []}, r"code_table: codebook_size is \[\]"),
        ("label_maps", {"file": "x", "sha256": "0" * 64}, "label_maps are listed, but the label kind is 'class'"),
        ("classes", ["a", 3], "a name in classes is 3, expected text"),
        ("classes", ["a", "\ud800"], "a name in classes is .*expected text"),
        ("samples_per_shard", 0, "samples_per_shard is 0"),
        ("complete", 1, "complete is 1"),
        ("source", [], r"source is \[\]"),
        ("tokenizer", None, "tokenizer is None"),
    ],
)
def test_wrong_value_is_named(tmp_path: Path, where: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StoreReader(forge(make(tmp_path / "s"), where, value))


def test_grid_that_rows_cannot_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shard-00000\.bin has \d+ bytes, expected \d+ for 6 samples"):
        StoreReader(forge(make(tmp_path / "s", codec="raw"), "grid", [4096, 4096]))
    reader = StoreReader(forge(make(tmp_path / "t"), "grid", [4096, 4096]))
    with pytest.raises(ValueError, match="sample 0 is damaged, its row does not decode to 16777216 codes"):
        reader.read([0])
    assert len(reader.verify()) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "is damaged or is not valid JSON"),
        (b'{"a":' * 100_000, "is damaged or is not valid JSON"),
        (b'{"format": "seitpp-token-store", "version": NaN}', "NaN is not a JSON number"),
        (b'{"format": "seitpp-token-store", "version": 1e999}', "number 1e999 is too large"),
        (b'{"format": "seitpp-token-store", "version": ' + b"9" * 10_000 + b"}", "has more than 64 bits"),
        (b"\xff\xfe", "is damaged or is not valid JSON"),
        (b"", "is damaged or is not valid JSON"),
        (b"7", "format is 7, expected 'seitpp-token-store'"),
    ],
)
def test_json_beyond_reason_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (make(tmp_path / "s") / "header.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"header\.json.*{message}"):
        StoreReader(tmp_path / "s")


@pytest.mark.parametrize("name", ["header.json", "codebook.npy", "synonyms.json", "code_table.npy", "shard-00000.bin"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "nothing"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = make(tmp_path / "s", code_table=CodeTable(np.arange(K), 512)) / name
    path.unlink()
    make_it = {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda path: os.symlink(path, path)}
    make_it.get(kind, lambda path: None)(path)
    messages = {"pipe": "is a pipe", "folder": "is a folder", "loop": "cannot be opened: Too many levels of symbolic"}
    message = messages.get(kind, "is missing|has no header.json")
    with pytest.raises((ValueError, NotAStoreError), match=f"{message}"):
        StoreReader(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "codebook.npy",
            b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}",
        ),
        (
            "codebook.npy",
            b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (300, 2), }",
        ),
        ("codebook.npy", b"\x93NUMPY\x09\x00"),
        ("codebook.npy", b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((("),
        ("codebook.npy", b""),
        ("synonyms.json", b"[" * 100_000),
        ("synonyms.json", b'{"' + b"9" * 100_000 + b'": []}'),
    ],
)
def test_beside_files_that_ask_for_too_much_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = make(tmp_path / "s")
    (path / name).write_bytes(content.ljust(128) if content.startswith(b"\x93NUMPY\x01\x00\x76") else content)
    key = name.partition(".")[0]
    if key == "synonyms":
        forge(path, "synonyms.sha256", sha256_hex(content))
    with pytest.raises(ValueError, match=rf"{name}( is damaged|: key )"):
        StoreReader(path)


def test_codebook_of_no_finite_values_is_neither_written_nor_read(tmp_path: Path) -> None:
    codebook = np.ones((K, 2), np.float32)
    codebook[7, 1] = np.nan
    with pytest.raises(ValueError, match="row 7 of the codebook is not finite"):
        make(tmp_path / "new", codebook=codebook)
    path = make(tmp_path / "s")
    np.save(path / "codebook.npy", codebook)
    with pytest.raises(ValueError, match="row 7 of the codebook is not finite"):
        StoreReader(forge(path, "codebook.sha256", codebook_sha256(codebook)))


def test_valid_headers_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = make(tmp_path / "s", codec="bitpacked")
    header = json.loads((path / "header.json").read_text())
    assert "label_maps" not in header and StoreReader(path).verify() == []
