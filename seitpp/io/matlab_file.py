"""MATLAB files (level 5) that anybody may have made: looked through here, then read by scipy.

scipy trusts the tags in such a file, and a damaged one can end the process with a memory error. Here every tag is
compared with the format ("MAT-File Format", MathWorks) before scipy sees it. No torch.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from seitpp.io.untrusted import parsing

_HEADER_BYTES = 128
_MOST_BYTES = 1 << 30  # of a compressed element, unpacked
_MOST_DEPTH = 16  # of cells and structs in each other
_MATRIX, _COMPRESSED, _INT32, _UINT32, _INT8 = 14, 15, 5, 6, 1
_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})
_TEXTS = frozenset({1, 2, 4, 16, 17, 18})
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC_CLASSES = range(6, 16)

_Element = tuple[int, bytes]
"""Type and bytes of an element."""


def parse_mat(content: bytes, source: str | Path) -> dict[str, Any]:
    """The variables in the bytes of a MATLAB file, without axes of length 1: numbers, text, cells and structs.

    Raises:
        ValueError: It is damaged, or holds other things, such as objects and sparse arrays.
    """
    with parsing(source, "a readable MATLAB file"):
        _check_file(content)
        try:
            return loadmat(io.BytesIO(content), squeeze_me=True)
        except (OSError, MatReadError) as error:
            raise ValueError(str(error)) from error


def _check_file(content: bytes) -> None:
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER_BYTES - 2 : _HEADER_BYTES])
    if order is None or content[_HEADER_BYTES - 4 : _HEADER_BYTES - 2] != struct.pack(f"{order}H", 0x0100):
        raise ValueError("it is not of level 5 (save it with MATLAB's -v7, or with scipy)")
    for kind, data in _elements(content[_HEADER_BYTES:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            inner = unpacker.decompress(data, _MOST_BYTES)
            if not unpacker.eof:
                raise ValueError("a compressed variable ends early or is too large")
            ((kind, data),) = _elements(inner, order)
        if kind != _MATRIX:
            raise ValueError(f"a variable is an element of type {kind}, expected {_MATRIX}")
        _check_array(data, order, depth=1)


def _elements(content: bytes, order: str) -> list[_Element]:
    """The elements that follow each other in some bytes, each within them."""
    elements, start = [], 0
    while start < len(content):
        (tag,) = struct.unpack_from(f"{order}I", content, start)
        kind, size, first = tag & 0xFFFF, tag >> 16, start + 4  # the short form, of at most 4 bytes
        if size:
            after = start + 8
            if size > 4:
                raise ValueError(f"an element in the short form has {size} bytes")
        else:
            kind, size = struct.unpack_from(f"{order}II", content, start)
            first, after = start + 8, start + 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if max(first + size, 0) > len(content):
            raise ValueError(f"an element of type {kind} has {size} bytes, and the file ends before")
        elements.append((kind, content[first : first + size]))
        start = after
    return elements


def _check_array(content: bytes, order: str, depth: int) -> None:
    """Check the parts of an array: flags, sizes, name, and values by its class."""
    if not content:
        return  # an empty cell
    if depth > _MOST_DEPTH:
        raise ValueError(f"arrays are nested more than {_MOST_DEPTH} deep")
    parts = _elements(content, order)
    if len(parts) < 3 or parts[0][0] != _UINT32 or len(parts[0][1]) != 8 or parts[1][0] != _INT32 or parts[2][0] != 1:
        raise ValueError("an array lacks its flags, sizes or name")
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    sizes = np.frombuffer(parts[1][1], f"{order}i4").tolist()
    if len(sizes) < 2 or min(sizes) < 0:
        raise ValueError(f"an array has the sizes {sizes}")
    count, kind, values = 1, flags & 0xFF, parts[3:]
    for size in sizes:
        count *= size
    if kind in (_CELL, _STRUCT):
        if kind == _STRUCT:
            count *= _num_fields(values, order)
            values = values[2:]
        if len(values) != count or any(kind != _MATRIX for kind, _ in values):
            raise ValueError(f"a cell or struct array has {len(values)} parts, expected {count}")
        for _, inner in values:
            _check_array(inner, order, depth + 1)
    elif kind in _NUMERIC_CLASSES or kind == _CHAR:
        allowed, expected = (_TEXTS, (1,)) if kind == _CHAR else (_NUMBERS, (2,) if flags & 0x800 else (1,))
        if len(values) not in expected or any(part not in allowed for part, _ in values):
            raise ValueError(f"an array of class {kind} has values of types {[part for part, _ in values]}")
        if kind != _CHAR and any(len(data) < count for _, data in values):
            raise ValueError(f"an array of sizes {sizes} has {len(values[0][1])} bytes")
    else:
        raise ValueError(f"an array is of class {kind}; expected numbers, text, cells or structs")


def _num_fields(values: list[_Element], order: str) -> int:
    """Fields of a struct array, from the length of a name and the names."""
    if len(values) < 2 or values[0][0] != _INT32 or len(values[0][1]) != 4 or values[1][0] != _INT8:
        raise ValueError("a struct array does not name its fields")
    (length,) = struct.unpack(f"{order}i", values[0][1])
    if not 1 <= length <= 64 or len(values[1][1]) % length:
        raise ValueError(f"a struct array has names of fields of {length} bytes in {len(values[1][1])}")
    return len(values[1][1]) // length
