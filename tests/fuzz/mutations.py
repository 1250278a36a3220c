"""Damage and forgery of files in a folder, each drawn from a generator: the same seed makes the same files."""

import gzip
import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.storage.header import HEADER_FILE, header_bytes, sha256_hex

_FEW = 16  # bytes at both ends of a file, which are changed more often
_SEAL = "header_sha256"
_DEEP = "the place of deep nesting"
_VALUES = (
    *(None, True, 0, -1, 1, 2, 255, 2**31, 2**63, 2**64, 2**70, -(2**40), 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "../x",
        "/etc/passwd",
        "a\x00b",
        "e" * 5000,
        "torch.nn.Linear",
        [],
        {},
        [[]],
        [1, 2, 3],
        {"a": 1},
        _DEEP,
    ),
)
_SHAPES = ((), (0,), (-1, 4), (2**62, 2**62), (10**9, 10**4), (1,) * 33, ("x",), (2.5,), (3, 0, 7))
_DESCRS = ("|O", "<f8", ">f4", "<f2", "<c16", "<U5", "|V8", "|b1", "<M8[s]", "<i8", [("a", "<f4")], "zz", 7, None)


@dataclass(frozen=True)
class Mutation:
    """What was done.

    Attributes:
        what: In words.
        file: Name of the file, relative to the folder.
        forged: Whether checksums were made to fit, so that another content is no damage.
    """

    what: str
    file: str
    forged: bool = False


def mutate(folder: Path, rng: np.random.Generator) -> Mutation:
    """Change one file of a folder, sometimes two."""
    while True:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = files[rng.integers(len(files))]
        mutation = _CHANGES[rng.integers(len(_CHANGES))](folder, path, rng)
        if mutation is not None:
            return mutation


def _named(folder: Path, path: Path, what: str, forged: bool = False) -> Mutation:
    return Mutation(what, str(path.relative_to(folder)), forged)


def _place(size: int, rng: np.random.Generator) -> int:
    """A place in a file, often near one of its ends."""
    end = rng.integers(4)
    if end == 0:
        return int(rng.integers(min(size, _FEW)))
    return size - 1 - int(rng.integers(min(size, _FEW))) if end == 1 else int(rng.integers(size))


def _bytes(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Content with damage of one kind."""
    data, kind = bytearray(content), rng.integers(8)
    if not data:
        return "a byte in an empty file", b"\0"
    start = _place(len(data), rng)
    stop = min(len(data), start + int(rng.integers(1, 65)))
    if kind <= 1:
        bits = rng.integers(1, 4)
        for _ in range(bits):
            data[_place(len(data), rng)] ^= 1 << rng.integers(8)
        return f"{bits} bits flipped", bytes(data)
    if kind == 2:
        data[start] = rng.integers(256)
        return f"byte {start} set", bytes(data)
    if kind == 3:
        return f"cut off at {start}", bytes(data[:start])
    if kind == 4:
        return "bytes added at the end", bytes(data) + rng.bytes(int(rng.integers(1, 40)))
    if kind == 5:
        data[start:stop] = bytes(stop - start)
        return f"zeros at {start}..{stop}", bytes(data)
    if kind == 6:
        return f"bytes {start}..{stop} left out", bytes(data[:start] + data[stop:])
    return f"bytes {start}..{stop} twice", bytes(data[:stop] + data[start:])


def _damage(folder: Path, path: Path, rng: np.random.Generator) -> Mutation:
    what, content = _bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    return _named(folder, path, what)


def _replace(folder: Path, path: Path, rng: np.random.Generator) -> Mutation:
    """Something else in the file's place."""
    kind = ("nothing", "empty", "pipe", "folder", "loop", "device", "socket name")[rng.integers(7)]
    path.unlink()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket name":
        path.symlink_to("x" * 200)
    return _named(folder, path, f"{kind} in its place")


def _exchange(folder: Path, path: Path, rng: np.random.Generator) -> Mutation | None:
    """Two files swapped, or one of them twice."""
    others = sorted(other for other in folder.rglob("*") if other.is_file() and other != path)
    if not others:
        return None
    other = others[rng.integers(len(others))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    if mine == theirs:
        return None
    path.write_bytes(theirs)
    if rng.integers(2):
        other.write_bytes(mine)
        return _named(folder, path, f"swapped with {other.name}")
    return _named(folder, path, f"is now a copy of {other.name}")


def _forge_bytes(folder: Path, path: Path, rng: np.random.Generator) -> Mutation | None:
    """Damage under checksums that fit it: of the store's header, of gzip."""
    if path.suffix == ".gz":
        what, content = _bytes(gzip.decompress(path.read_bytes()), rng)
        path.write_bytes(gzip.compress(content, mtime=0))
        return _named(folder, path, f"{what}, packed again", True)
    if path.name == HEADER_FILE or not (folder / HEADER_FILE).is_file():
        return None
    what, content = _bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    return _named(folder, path, what, True) if _reseal(folder, path) else _named(folder, path, what)


def _reseal(folder: Path, changed: Path) -> bool:
    """Give the store's header the hash and size of a changed file; whether it names the file."""
    header = json.loads((folder / HEADER_FILE).read_bytes())
    entries = [header["codebook"], header.get("synonyms"), header.get("code_table"), *header["shards"]]
    entries = [entry for entry in entries if entry and entry["file"] == changed.name]
    content = changed.read_bytes()
    for entry in entries:
        entry["sha256"] = sha256_hex(content)
        if "num_bytes" in entry:
            entry["num_bytes"] = len(content)
    (folder / HEADER_FILE).write_bytes(header_bytes(header))
    return bool(entries)


def _change_json(folder: Path, path: Path, rng: np.random.Generator) -> Mutation | None:
    """A value of a JSON file, under a seal that fits it if it has one."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    places = list(_places(document))
    if not places:
        return None
    container, key = places[rng.integers(len(places))]
    what = _change_value(container, key, rng)
    if isinstance(document, dict) and _SEAL in document:
        with_seal = {name: value for name, value in document.items() if name != _SEAL}
        try:
            text = header_bytes(with_seal).decode()
        except ValueError:  # not a number, which no seal covers
            text = json.dumps(document)
    else:
        text = json.dumps(document)
    path.write_text(text.replace(f'"{_DEEP}"', "[" * 50_000 + "]" * 50_000))
    return _named(folder, path, what, True)


def _places(value: Any) -> Any:
    """Containers with their keys, through a whole document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield value, key
        yield from _places(child)


def _change_value(container: Any, key: Any, rng: np.random.Generator) -> str:
    old, kind = container[key], rng.integers(4)
    if kind == 0 and isinstance(container, dict):
        del container[key]
        return f"{key!r} left out"
    if kind == 1 and isinstance(old, int):
        container[key] = old + int(rng.integers(-2, 3))
    elif kind == 1 and isinstance(old, list):
        container[key] = old[:-1] if rng.integers(2) else [*old, *old]
    elif kind == 1 and isinstance(old, str):
        container[key] = old[::-1]
    else:
        container[key] = _VALUES[rng.integers(len(_VALUES))]
    return f"{key!r} is {str(container[key])[:40]!r}, was {str(old)[:40]!r}"


def _change_npy(folder: Path, path: Path, rng: np.random.Generator) -> Mutation | None:
    """Another header of a numpy file, under a hash that fits it where there is one."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:6] != b"\x93NUMPY":
        return None
    what, content = _other_npy_header(content, rng)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    if (folder / HEADER_FILE).is_file():
        _reseal(folder, path)
    return _named(folder, path, what, True)


def _other_npy_header(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    fields: dict[str, Any] = {"descr": dtype.str, "fortran_order": fortran, "shape": shape}
    values, kind = content[file.tell() :], rng.integers(6)
    if kind == 0:
        fields["shape"] = _SHAPES[rng.integers(len(_SHAPES))]
    elif kind == 1:
        fields["descr"] = _DESCRS[rng.integers(len(_DESCRS))]
    elif kind == 2:
        fields["fortran_order"] = not fortran
    elif kind == 3:
        del fields[sorted(fields)[rng.integers(3)]]
    text = repr(fields)
    if kind == 4:
        text = ("{" * 500, "(" * 3000, "__import__('os').getpid()", "{'descr': '<f4', ", "9" * 5000)[rng.integers(5)]
    version = b"\x01\x00" if kind < 5 else bytes([int(rng.integers(256)), 0])
    head = text.encode() + b"\n"
    length = len(head) if rng.integers(8) else int(rng.integers(65536))
    return f".npy header {text[:60]}", b"\x93NUMPY" + version + struct.pack("<H", length % 65536) + head + values


def _change_zip(folder: Path, path: Path, rng: np.random.Generator) -> Mutation | None:
    """Another zip file: a part changed under a checksum that fits, left out, renamed, twice, compressed."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as source:
        parts = [(name, source.read(name)) for name in source.namelist()]
    at, kind = int(rng.integers(len(parts))), int(rng.integers(5))
    name, content = parts[at]
    what = f"part {name} " + ("changed", "left out", "renamed", "twice", "compressed")[kind]
    if kind == 0:
        detail, content = _bytes(content, rng)
        parts[at], what = (name, content), f"{what}: {detail}"
    elif kind == 1:
        del parts[at]
    elif kind == 2:
        parts[at] = (name + "x" if rng.integers(2) else "../" + name, content)
    elif kind == 3:
        parts.append((name, parts[int(rng.integers(len(parts)))][1]))
    method = zipfile.ZIP_DEFLATED if kind == 4 else zipfile.ZIP_STORED
    temporary = path.with_suffix(".rewritten")
    with zipfile.ZipFile(temporary, "w", method) as target:
        for name, content in parts:
            target.writestr(name, content)
    shutil.move(temporary, path)
    return _named(folder, path, what, True)


_CHANGES: tuple[Callable[[Path, Path, np.random.Generator], Mutation | None], ...] = (
    _damage,
    _damage,
    _damage,
    _damage,
    _replace,
    _exchange,
    _forge_bytes,
    _change_json,
    _change_json,
    _change_npy,
    _change_zip,
)
