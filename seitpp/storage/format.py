"""The JSON header of a token store with its checks, the content hash, and writing files that appear whole.

Every byte is specified in `docs/storage_format.md`; writer and reader share what is defined here.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.files import written_whole
from seitpp.io.untrusted import parse_json, read_file, shown
from seitpp.storage.header_checks import check_fields, check_shards
from seitpp.storage.zstd_codec import ZstdCodec

FORMAT = "seitpp-token-store"
VERSION = 2
READ_VERSIONS = (1, 2)
HEADER_FILE = "header.json"
SHARD_LIST_FILE = "shards.jsonl"  # shards of an unfinished store that its header does not list yet
CODEBOOK_FILE = "codebook.npy"
SYNONYMS_FILE = "synonyms.json"
CODE_TABLE_FILE = "code_table.npy"
LABEL_MAPS = "labels"  # folder of the maps of a segmentation store
LABEL_CHECKSUMS_FILE = "label_maps.npy"
SIDE_FILES = (CODEBOOK_FILE, SYNONYMS_FILE, CODE_TABLE_FILE, LABEL_CHECKSUMS_FILE)
SIDE_ENTRIES = ("codebook", "synonyms", "code_table", "label_maps")
"""Entries of a header that name a file beside the shards."""
_MAX_HEADER_BYTES = 2**28

Progress = Callable[[int, int], None]
"""Called with (done, total) while something long runs."""


class NotAStoreError(ValueError):
    """The path holds no token store at all, as opposed to a damaged one."""


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.bin"


def label_layout(labels: dict[str, Any]) -> tuple[np.dtype | None, int]:
    """Stored type of a label and its size in bytes; (None, 0) when shards hold no labels."""
    if labels["dtype"] is None:
        return None, 0
    dtype = np.dtype(labels["dtype"]).newbyteorder("<")
    return dtype, dtype.itemsize


def smallest_label_dtype(num_classes: int) -> str:
    """The smallest type for class indices below `num_classes`."""
    return "uint8" if num_classes <= 2**8 else "uint16" if num_classes <= 2**16 else "uint32"


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no blanks and ASCII only: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def json_copy(value: Any, name: str) -> Any:
    """A copy of `value` as JSON gives it back (tuples become lists), so that it can be compared with a header."""
    try:
        return parse_json(canonical_json({name: value}), name)[name]
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}") from error


def sha256_hex(data: Any) -> str:
    """SHA-256 of a bytes-like object, as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def codebook_sha256(codebook: np.ndarray) -> str:
    """SHA-256 of the C-order little-endian float32 values of a codebook (K, D)."""
    return sha256_hex(np.ascontiguousarray(codebook, dtype="<f4"))


def content_hash(header: dict[str, Any]) -> str:
    """SHA-256 over all that determines the contents: equal for equal stores, wherever they came from."""
    codebook, table = header["codebook"], header.get("code_table")
    optional = {key: header[key] for key in ("channels", "minimum") if key in header}
    if table is not None:
        optional["code_table"] = {key: table[key] for key in ("sha256", "codebook_size")}
    return sha256_hex(
        canonical_json(
            {
                "codebook_sha256": codebook and codebook["sha256"],
                "codebook_size": header["codebook_size"],
                "grid": header["grid"],
                "codec": header["codec"],
                "labels": header["labels"],
                "classes": header["classes"],
                "shards": [[shard["num_samples"], shard["sha256"]] for shard in header["shards"]],
                **optional,
            }
        )
    )


def atomic_write(path: Path, chunks: Iterable[Any]) -> None:
    """Write bytes-like `chunks` so that `path` has, at any moment, its old content or all of the new.

    Raises:
        OSError: It cannot be written, for one because the disk is full; with its name.
    """
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        for chunk in chunks:
            file.write(chunk)


def header_checksum(header: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of everything in the header but this checksum."""
    return sha256_hex(canonical_json({key: value for key, value in header.items() if key != "header_sha256"}))


def header_bytes(header: dict[str, Any]) -> bytes:
    """Content of `header.json`: the header with its own checksum."""
    sealed = {**header, "header_sha256": header_checksum(header)}
    # One entry per line, one shard per line: `indent` would leave json's fast encoder, which thousands of shards need.
    lines = [
        f" {json.dumps(key)}: {_shard_lines(value) if key == 'shards' else json.dumps(value)}"
        for key, value in sealed.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def _shard_lines(shards: Any) -> str:
    if not isinstance(shards, list):
        return json.dumps(shards)
    return "[" + ",".join(f"\n  {json.dumps(shard)}" for shard in shards) + "]"


def write_header(folder: Path, header: dict[str, Any]) -> None:
    """Write `header.json` with its own checksum."""
    atomic_write(folder / HEADER_FILE, [header_bytes(header)])


def append_to_list(folder: Path, shard: dict[str, Any]) -> None:
    """Add a line for a shard to `shards.jsonl`, whole or not at all.

    Raises:
        OSError: It cannot be written, for one because the disk is full; with its name.
    """
    path = folder / SHARD_LIST_FILE
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(line := json.dumps(shard).encode("ascii") + b"\n") != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(size)
            raise OSError(error.errno, f"cannot write, {error.strerror}", str(path)) from error


def _add_listed(folder: Path, header: dict[str, Any]) -> None:
    """Add the shards that `shards.jsonl` lists to the header of an unfinished store, if there is such a file."""
    path = folder / SHARD_LIST_FILE
    try:
        lines = read_file(path, "list of shards", at_most=_MAX_HEADER_BYTES).split(b"\n")[:-1]  # a torn line has no end
    except FileNotFoundError:
        return
    known = {shard["file"] for shard in header["shards"]}  # a writer that was killed may have left lines twice
    shards = [parse_json(line, path) for line in lines]
    try:
        check_shards(shards)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    header["shards"] += [shard for shard in shards if shard["file"] not in known]
    header["num_samples"] = sum(shard["num_samples"] for shard in header["shards"])


def read_header(folder: Path) -> dict[str, Any]:
    """Read and check `header.json`, for an unfinished store with the shards that `shards.jsonl` adds to it.

    Raises:
        NotAStoreError: There is no header, or it belongs to something else.
        ValueError: The header is damaged, of a newer version, or contradicts itself.
    """
    path = folder / HEADER_FILE
    try:
        content = read_file(path, "store header", at_most=_MAX_HEADER_BYTES)
    except FileNotFoundError as error:
        raise NotAStoreError(f"{folder} is not a token store: it has no {HEADER_FILE}") from error
    header = parse_header(content, path)
    if not header["complete"]:
        _add_listed(folder, header)
    return header


def parse_header(content: bytes, path: str | Path) -> dict[str, Any]:
    """Check the content of a `header.json`; raises as `read_header` does, `path` is for messages."""
    header = parse_json(content, path)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else header
        raise NotAStoreError(f"{path}: format is {shown(found)}, expected {FORMAT!r}")
    if type(version := header.get("version")) is not int or version not in READ_VERSIONS:
        newer = type(version) is int and version > VERSION
        raise ValueError(
            f"{path}: version is {shown(version)}, this release of seitpp reads versions 1 and 2"
            + ("; install a newer one" if newer else "")
        )
    if header.get("header_sha256") != header_checksum(header):
        raise ValueError(
            f"{path}: header_sha256 does not match, the header was damaged or edited by hand; restore it, or make the "
            "store again"
        )
    try:
        check_fields(header)
        if version == 1 and header["codec"]["name"] == ZstdCodec.name:
            raise ValueError("version is 1, in which there is no codec 'zstd'; make the store again")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return header


def sample_shape(header: dict[str, Any]) -> tuple[int, ...]:
    """Shape of a sample: (H, W), or (H, W, C) with channels."""
    return (*header["grid"], header["channels"]) if "channels" in header else tuple(header["grid"])
