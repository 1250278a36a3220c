"""Reading MATLAB files that anybody may have made: what scipy writes is read, and no tag is taken on trust."""

import io
import struct

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import eye

from seitpp.io.matlab_file import parse_mat


def saved(compressed: bool = False, **variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "c16", "?"])
def test_numbers_are_read(dtype: str, compressed: bool) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    np.testing.assert_array_equal(parse_mat(saved(compressed, a=array), "a.mat")["a"], array)


@pytest.mark.parametrize("compressed", [False, True])
def test_text_cells_and_structs_are_read(compressed: bool) -> None:
    records = np.zeros((1, 2), [("file", object), ("box", object)])
    records["file"][0, :] = ["a.jpg", "b.jpg"]
    records["box"][0, :] = [np.arange(4), np.array([[np.arange(2), "x"]], object)]
    content = saved(compressed, text="word", cell=np.array([["x", "longer"]], object), records=records)
    found = parse_mat(content, "a.mat")
    assert found["text"] == "word" and found["cell"].tolist() == ["x", "longer"]
    assert found["records"]["file"].tolist() == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(found["records"]["box"][0], np.arange(4))


def with_word(content: bytes, place: int, value: int) -> bytes:
    return content[:place] + struct.pack("<I", value) + content[place + 4 :]


NUMBERS = saved(a=np.arange(300, dtype="f8"))  # the matrix begins at byte 128, its values at 176


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not of level 5"),
        (b"MATLAB 5.0".ljust(4000), "not of level 5"),
        (NUMBERS[:-1], "the file ends before"),
        (NUMBERS + b"\x0e", "unpack_from"),
        (
            with_word(NUMBERS, 176, 200),
            r"values of types \[200\]",
        ),  # ends the process in scipy
        (with_word(NUMBERS, 128, 200), "an element of type 200, expected 14"),
        (with_word(NUMBERS, 160, 1 << 20), r"array of sizes \[1048576, 300\] has 2400 bytes"),
        (with_word(NUMBERS, 160, 2**31), r"has the sizes \[-2147483648, 300\]"),
        (with_word(NUMBERS, 144, 17), "an array is of class 17"),
        (saved(a=eye(3, format="csc")), "an array is of class 5"),
        (saved(compressed=True, a=np.arange(300))[:-9], "the file ends before"),
    ],
)
def test_damage_is_refused_with_the_source(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse_mat(content, "annotations a.mat")
    assert str(error.value).startswith("annotations a.mat is damaged or is not a readable MATLAB file (")


def test_deep_cells_are_refused() -> None:
    value: object = 1.0
    for _ in range(40):
        value = np.array([[value, 1]], object)
    with pytest.raises(ValueError, match="nested more than 16 deep"):
        parse_mat(saved(a=value), "a.mat")


def test_each_changed_byte_gives_an_array_or_a_refusal() -> None:
    content = saved(a=np.arange(3, dtype="u1"), cell=np.array([["x", 1]], object))
    for place in range(len(content)):
        for value in (0, 5, 200):
            changed = content[:place] + bytes([value]) + content[place + 1 :]
            try:
                parse_mat(changed, "a.mat")
            except ValueError as error:
                assert str(error).startswith("a.mat ")
