"""Files and numbers that anybody may have made, read in one way: bounded, without code, with errors that name them.

Every reader of headers, arrays and records goes through here, so that damage of any kind, deliberate or not, ends in a
`ValueError` with the file, what was found and what was expected, and never in an error of the parser underneath. No
torch. In all functions `source` or `what` names in messages what is read: "store header".
"""

import contextlib
import io
import json
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.text import shown

MAX_JSON_DEPTH = 32
_MAX_JSON_INTEGER = 2**64
_MOST_REASON = 200  # characters
# What parsers of the standard library and of numpy raise on bytes that are not what they expect.
PARSER_ERRORS = (
    *(ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, EOFError, MemoryError, RecursionError),
    *(AttributeError, NotImplementedError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


@contextlib.contextmanager
def parsing(source: str | Path, expected: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever a parser raises into a `ValueError` that says what `source` should be, and what to do about it."""
    try:
        yield
    except PARSER_ERRORS as error:
        reason = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0][:_MOST_REASON]
        remedy = f". {remedy}" if remedy else ""
        raise ValueError(f"{source} is damaged or is not {expected} ({reason}){remedy}") from error


def check_regular_file(path: str | Path, what: str) -> Path:
    """Return `path` if an ordinary file lies there, so that reading it can neither hang nor have no end.

    Raises `FileNotFoundError` where nothing lies, and `ValueError` for a folder, a pipe, a device, or a loop of links.
    """
    path = Path(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{what} {path} does not exist") from None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a null byte in it
        raise ValueError(f"{what} {path} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise ValueError(f"{what} {path} is {kinds.get(stat.S_IFMT(mode), 'a device')}, expected a file")
    return path


def read_file(path: str | Path, what: str, *, at_most: int) -> bytes:
    """Return all bytes of an ordinary file; raise as `check_regular_file`, or `ValueError` beyond `at_most` bytes."""
    path = check_regular_file(path, what)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise ValueError(
                f"{what} {path} has {size:,} bytes, expected at most {at_most:,}; it is damaged or no {what}"
            )
        return file.read(size)  # not `at_most`, for which Python would make room


def parse_json(
    content: bytes | str, source: str | Path, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Return the value of JSON text: finite numbers, integers of at most 64 bits, at most 32 levels deep.

    Raises `ValueError` for what is not JSON, or beyond these bounds. `object_pairs_hook` is that of `json.loads`.
    """
    with parsing(source, "valid JSON"):
        if isinstance(content, bytes):
            content = content.decode("utf-8")
        value = json.loads(
            content,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
            object_pairs_hook=object_pairs_hook,
        )
        if _depth(value) > MAX_JSON_DEPTH:
            raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
    return value


def parse_json_object(content: bytes | str, source: str | Path) -> dict[str, Any]:
    """Like `parse_json`, for a file that holds one object."""
    value = parse_json(content, source)
    if not isinstance(value, dict):
        raise ValueError(f"{source} holds a JSON {type(value).__name__}, expected an object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number {text[:40]} is too large")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > 21 or abs(value := int(text)) > _MAX_JSON_INTEGER:
        raise ValueError(f"integer {text[:40]} has more than 64 bits")
    return value


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return 1 + max(map(_depth, children), default=0)


def parse_npy(content: bytes, source: str | Path, kinds: str = "biuf") -> np.ndarray:
    """Return the array in the bytes of a `.npy` file, of exactly the size that its header declares.

    Objects, records, and other `kinds` of numpy's types than plain numbers are refused.
    """
    file = io.BytesIO(content)
    with parsing(source, "a .npy file of plain numbers"):
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"format version {version} is not read, save it with numpy.save")
        shape, fortran_order, dtype = read_header[version](file)
        if dtype.kind not in kinds or dtype.subdtype is not None:
            raise ValueError(f"it holds {shown(dtype)}, expected integers, floats or truth values")
        if any(side < 0 for side in shape):
            raise ValueError(f"its shape is {shown(shape)}")
        declared, found = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
        if declared != found:
            raise ValueError(f"its header declares {declared} bytes of values (shape {shown(shape)}), it has {found}")
        array = np.frombuffer(content, dtype, math.prod(shape), file.tell())
        array = array.reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="))


def read_npy(path: str | Path, what: str, *, at_most: int) -> np.ndarray:
    """Return the array in a `.npy` file; raises as `read_file` and `parse_npy` do."""
    return parse_npy(read_file(path, what, at_most=at_most), f"{what} {path}")


def parse_npz(content: bytes, source: str | Path, *, at_most: int) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes of a `.npz` file, by name; raises `ValueError` for more than `at_most` bytes."""
    with parsing(source, "a .npz file of plain arrays"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > at_most:
            raise ValueError(f"it unpacks to {size:,} bytes, expected at most {at_most:,}")
        return {
            name.removesuffix(".npy"): parse_npy(archive.read(name), f"{source}, {shown(name)}", "biufU")
            for name in archive.namelist()
        }


def gunzip(content: bytes, source: str | Path, *, at_most: int) -> bytes:
    """Unpack gzip bytes, of several members if there are, and hold at most `at_most` bytes of the result."""
    parts, total = [], 0
    with parsing(source, "a whole gzip file"):
        while content:
            unpacker = zlib.decompressobj(wbits=31)
            part = unpacker.decompress(content, at_most - total + 1)
            total += len(part)
            if total > at_most:
                raise ValueError(f"it unpacks to more than {at_most:,} bytes")
            if not unpacker.eof:
                raise ValueError("it ends early")
            parts.append(part)
            content = unpacker.unused_data.lstrip(b"\0")  # padding, which gzip allows
    return b"".join(parts)


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """Return `value` if it is an integer in [low, high], or raise `ValueError` naming it."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is {shown(value)}, expected an integer in {low}..{high}")
    return value


def text(value: Any, name: str) -> str:
    """Return `value` if it is text that can be written and printed, or raise `ValueError` naming it."""
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{name} is {shown(value)}, expected text")
    return value


def entry(mapping: Mapping[str, Any], key: str, kinds: type | tuple[type, ...], source: str | Path) -> Any:
    """Return an entry of a mapping that must be there and of a type; `bool` does not pass for `int`."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        found = shown(value) if isinstance(mapping, Mapping) and key in mapping else "missing"
        raise ValueError(f"{source}: {key} is {found}, expected {names}")
    return value
