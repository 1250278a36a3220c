"""Stores of version 1, written here byte by byte: read, copied, continued; other versions and former codecs refused."""

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seitpp.storage import StoreReader, StoreWriter, build_codec, copy_store
from seitpp.storage.header import read_header, write_header

SETTINGS: dict[str, Any] = {
    "codebook_size": 5,
    "grid": (1, 4),
    "tokenizer": {"name": "toy"},
    "label_kind": "class",
    "label_dtype": "uint8",
    "shard_bytes": 78 + 2 * 7,  # two samples
}
CODES = np.array([[[1, 4, 3, 2]], [[0, 0, 4, 4]]])


def version_1(path: Path, codec: dict[str, Any], rows: list[bytes], complete: bool = True) -> Path:
    """The two samples `CODES` with the labels 7 and 8 in one shard, as the first version of the format had them."""
    rows_end = 64 + sum(map(len, rows))
    labels_at = -(-rows_end // 8) * 8
    content = struct.pack("<8sIIQIIQQQQ", b"SEITPPTS", 1, 0, 2, len(rows[0]), 1, 0, 64, labels_at, labels_at + 8)
    content += b"".join(rows).ljust(labels_at - 64, b"\0") + bytes([7, 8]).ljust(8, b"\0")
    content += struct.pack("<II", *(zlib.crc32(row + bytes([label])) for row, label in zip(rows, (7, 8), strict=True)))
    header = {
        "format": "seitpp-token-store",
        "version": 1,
        "tokenizer": {"name": "toy"},
        "codebook_size": 5,
        "codebook": None,
        "grid": [1, 4],
        "codec": codec,
        "labels": {"kind": "class", "dtype": "uint8"},
        "classes": None,
        "source": {},
        "samples_per_shard": 2,
        "num_samples": 2,
        "complete": complete,
        "shards": [
            {
                "file": "shard-00000.bin",
                "num_samples": 2,
                "num_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        ],
    }
    canonical = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    header["header_sha256"] = hashlib.sha256(canonical).hexdigest()
    path.mkdir()
    (path / "shard-00000.bin").write_bytes(content)
    (path / "header.json").write_text(json.dumps(header, indent=1) + "\n")
    return path


def bitpacked(path: Path, **options: Any) -> Path:
    """Rows as the documentation packs them."""
    return version_1(path, {"name": "bitpacked", "bits": 3}, [b"\xe1\x04", b"\x00\x09"], **options)


def raw(path: Path, **options: Any) -> Path:
    return version_1(path, {"name": "raw", "dtype": "uint8"}, [bytes([1, 4, 3, 2]), bytes([0, 0, 4, 4])], **options)


@pytest.mark.parametrize("make", [bitpacked, raw])
def test_store_of_version_1_is_read_and_copied(tmp_path: Path, make: Any) -> None:
    reader = StoreReader(make(tmp_path / "s"))
    np.testing.assert_array_equal(reader.read([1, 0]), CODES[::-1])
    assert reader.labels.tolist() == [7, 8] and reader.verify() == [] and reader.header["version"] == 1
    copy_store(reader, tmp_path / "copy", codec="zstd")
    copy = StoreReader(tmp_path / "copy")
    np.testing.assert_array_equal(copy.read_all(), CODES)
    assert copy.header["version"] == 2 and copy.labels.tolist() == [7, 8]


@pytest.mark.parametrize("make", [bitpacked, raw])
def test_unfinished_store_of_version_1_goes_on_as_version_2(tmp_path: Path, make: Any) -> None:
    codec = "bitpacked" if make is bitpacked else "raw"
    settings = {**SETTINGS, "shard_bytes": 78 + 2 * (7 if make is bitpacked else 9)}
    path = make(tmp_path / "s", complete=False)
    with StoreWriter(path, codec=codec, **settings, resume=True) as writer:
        assert writer.num_committed == 2
        writer.append(CODES[::-1], np.array([9, 10]))
    reader = StoreReader(path)
    assert reader.header["version"] == 2 and reader.verify() == [] and reader.labels.tolist() == [7, 8, 9, 10]
    np.testing.assert_array_equal(reader.read_all(), np.concatenate([CODES, CODES[::-1]]))


def test_finished_store_of_version_1_is_found_finished(tmp_path: Path) -> None:
    path = bitpacked(tmp_path / "s")
    before = (path / "header.json").read_bytes()
    with StoreWriter(path, **SETTINGS, resume=True) as writer:
        assert writer.complete
    assert (path / "header.json").read_bytes() == before


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (3, r"version is 3, this release of seitpp reads versions 1 and 2; install a newer one"),
        (0, r"version is 0, this release of seitpp reads versions 1 and 2$"),
        ("2", r"version is '2', this release of seitpp reads versions 1 and 2$"),
        (True, r"version is True, this release of seitpp reads versions 1 and 2$"),
    ],
)
def test_other_versions_are_refused(tmp_path: Path, version: Any, message: str) -> None:
    path = bitpacked(tmp_path / "s")
    write_header(path, {**read_header(path), "version": version})
    with pytest.raises(ValueError, match=rf"s/header\.json: {message}"):
        StoreReader(path)


def test_shard_of_a_version_to_come_is_refused(tmp_path: Path) -> None:
    shard = bitpacked(tmp_path / "s") / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[8] = 3
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"the 64-byte shard header contradicts header\.json"):
        StoreReader(tmp_path / "s")


def test_version_1_with_a_codec_of_version_2_is_refused(tmp_path: Path) -> None:
    path = version_1(tmp_path / "s", {"name": "zstd", "bits": 3}, [b"\0\0", b"\0\0"])
    with pytest.raises(ValueError, match=r"s/header\.json: version is 1, in which there is no codec 'zstd'"):
        StoreReader(path)


@pytest.mark.parametrize("name", ["rans", "rans-context"])
def test_codec_of_an_earlier_format_says_how_to_convert(tmp_path: Path, name: str) -> None:
    path = version_1(tmp_path / "s", {"name": name}, [b"\0\0", b"\0\0"])
    message = rf"s/header\.json: codec is '{name}' of an earlier format.*convert_store\.py STORE OUT --codec bitpacked"
    with pytest.raises(ValueError, match=message):
        StoreReader(path)
    with pytest.raises(ValueError, match=message):
        StoreWriter(path, **SETTINGS, resume=True)
    with pytest.raises(ValueError, match=f"codec is '{name}', expected one of bitpacked, raw, zstd"):
        build_codec(name, 9)
