"""Reading files that anybody may have made."""

import gzip
import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from seitpp.io import untrusted
from seitpp.io.text import shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "more than 64 bits"),
        (b"[" * 100_000, "damaged or is not valid JSON"),
        (b"[" * 40 + b"]" * 40, "more than 32 levels"),
        (b'{"a": ', "damaged or is not valid JSON"),
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b"[1]", "holds a JSON list, expected an object"),
    ],
)
def test_json_is_refused_with_the_source(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        untrusted.parse_json_object(content, "header h.json")
    assert "header h.json" in str(error.value)


def test_json_is_read() -> None:
    assert untrusted.parse_json(b'{"a": [1, 2.5, null, "x"]}', "h") == {"a": [1, 2.5, None, "x"]}


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<u2", "|b1"])
def test_npy_is_read(dtype: str, order: str) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3) % 2, dtype=dtype, order=order)
    read = untrusted.parse_npy(_npy(array), "codebook c.npy")
    assert np.array_equal(read, array)
    assert read.dtype.isnative


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': ('<f4', " + "(2," * 200 + ")" * 200 + "), 'fortran_order': False, 'shape': (1,)}",
        "((((((",
        "(" * 5000,
    ],
)
def test_npy_header_is_refused(header: str) -> None:
    text = header.encode()
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0\0\0\0"
    with pytest.raises(ValueError, match=r"codebook c.npy is damaged or is not a .npy file of plain numbers"):
        untrusted.parse_npy(content, "codebook c.npy")


def test_pickled_npy_is_refused() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected integers, floats"):
        untrusted.parse_npy(file.getvalue(), "c.npy")


def test_npz_is_bounded(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(10_000), note="text")
    content = (tmp_path / "a.npz").read_bytes()
    assert untrusted.parse_npz(content, "a.npz", at_most=1 << 20)["zeros"].shape == (10_000,)
    assert str(untrusted.parse_npz(content, "a.npz", at_most=1 << 20)["note"]) == "text"
    with pytest.raises(ValueError, match="unpacks to 80,272 bytes, expected at most 1,000"):
        untrusted.parse_npz(content, "a.npz", at_most=1000)


def test_gzip_is_bounded_and_whole() -> None:
    content = gzip.compress(b"a" * 1000) + gzip.compress(b"b" * 1000)
    assert untrusted.gunzip(content, "x.gz", at_most=2000) == b"a" * 1000 + b"b" * 1000
    with pytest.raises(ValueError, match="more than 1,999 bytes"):
        untrusted.gunzip(content, "x.gz", at_most=1999)
    with pytest.raises(ValueError, match=r"x.gz is damaged or is not a whole gzip file \(ValueError: it ends early\)"):
        untrusted.gunzip(content[:-9], "x.gz", at_most=2000)


def test_pipes_folders_and_loops_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (("pipe", "is a pipe, expected a file"), (".", "is a folder"), ("loop", "cannot be opened")):
        with pytest.raises(ValueError, match=message):
            untrusted.read_file(tmp_path / name, "codebook", at_most=10)
    with pytest.raises(FileNotFoundError, match=r"codebook .*none does not exist"):
        untrusted.read_file(tmp_path / "none", "codebook", at_most=10)


def test_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has 1,099,511,627,776 bytes, expected at most 10"):
        untrusted.read_file(tmp_path / "big", "label list", at_most=10)


def test_values_are_checked() -> None:
    assert untrusted.whole_number(3, "count", 0, 3) == 3
    for wrong in (True, 4, -1, 3.0, "3", None):
        with pytest.raises(ValueError, match=r"count is .*, expected an integer in 0..3"):
            untrusted.whole_number(wrong, "count", 0, 3)
    assert untrusted.entry({"a": None}, "a", (int, type(None)), "f") is None
    with pytest.raises(ValueError, match="f: a is True, expected int"):
        untrusted.entry({"a": True}, "a", int, "f")
    with pytest.raises(ValueError, match="f: b is missing, expected str"):
        untrusted.entry({"a": True}, "b", str, "f")
    assert len(shown("x" * 1000)) < 300


def test_reading_a_small_file_takes_little_memory_whatever_the_bound(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 100)
    tracemalloc.start()
    assert untrusted.read_file(tmp_path / "small", "label map", at_most=1 << 30) == b"x" * 100
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
