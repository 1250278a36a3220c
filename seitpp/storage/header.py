"""The JSON header of a token store: reading, checking and writing it, and its content hash.

Anybody may have written a header, and a checksum only tells that it was not damaged: every value is bounded by what a
store can hold, so that none can fill the memory. Every byte is specified in `docs/storage_format.md`.
"""

import errno
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.atomic_write import write_whole
from seitpp.io.text import shown
from seitpp.io.untrusted import entry as checked_entry
from seitpp.io.untrusted import parse_json, read_file, text, whole_number
from seitpp.storage.codecs import ZstdCodec, check_codebook_size, codec_from_header
from seitpp.storage.tokenizer_entry import check_tokenizer_entry

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

LABEL_KINDS = ("none", "class", "segmentation")
LABEL_DTYPES = ("uint8", "uint16", "uint32")
MAX_CHANNELS = 4096
MAX_SAMPLE_CODES = 2**24
MAX_SAMPLES = 2**40
MAX_CODE_DIM = 2**16
_MAX_SHARD_BYTES = 2**50

_SHARD_FIELDS = ("file", "num_samples", "num_bytes", "sha256")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "tokenizer": dict,
    "codebook_size": int,
    "codebook": (dict, type(None)),
    "grid": list,
    "codec": dict,
    "labels": dict,
    "classes": (list, type(None)),
    "source": dict,
    "num_samples": int,
    "complete": bool,
    "samples_per_shard": int,
    "shards": list,
}

Progress = Callable[[int, int], None]
"""Called with (done, total) while something long runs."""


class NotAStoreError(ValueError):
    """The path holds no token store at all, as opposed to a damaged one."""


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.bin"


def next_shard_number(shards: list[dict[str, Any]]) -> int:
    """Return the number of the next shard: above all that are listed, which another writer may have named freely."""
    return 1 + max((int(number) for shard in shards for number in re.findall(r"\d+", shard["file"])), default=-1)


def shard_entry(name: str, content: bytes, num_samples: int) -> dict[str, Any]:
    """Return what the header's list says of a shard: file name, samples, size and hash."""
    return {"file": name, "num_samples": num_samples, "num_bytes": len(content), "sha256": sha256_hex(content)}


def label_layout(labels: dict[str, Any]) -> tuple[np.dtype | None, int]:
    """Return the stored type of a label and its size in bytes; (None, 0) when shards hold no labels."""
    if labels["dtype"] is None:
        return None, 0
    dtype = np.dtype(labels["dtype"]).newbyteorder("<")
    return dtype, dtype.itemsize


def smallest_label_dtype(num_classes: int) -> str:
    """Return the smallest type for class indices below `num_classes`."""
    return "uint8" if num_classes <= 2**8 else "uint16" if num_classes <= 2**16 else "uint32"


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys, no blanks and ASCII only: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def json_copy(value: Any, name: str) -> Any:
    """Return a copy of `value` as JSON gives it back (tuples become lists), to be compared with a header."""
    try:
        return parse_json(canonical_json({name: value}), name)[name]
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}") from error


def sha256_hex(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def codebook_sha256(codebook: np.ndarray) -> str:
    """Return the SHA-256 of the C-order little-endian float32 values of a codebook (K, D)."""
    return sha256_hex(np.ascontiguousarray(codebook, dtype="<f4"))


def content_hash(header: dict[str, Any]) -> str:
    """Return a SHA-256 over all that determines the contents: equal for equal stores, wherever they came from."""
    as_it_is = ("codebook_size", "grid", "codec", "labels", "classes", "channels", "minimum")
    content: dict[str, Any] = {key: header[key] for key in as_it_is if key in header}
    content["codebook_sha256"] = header["codebook"] and header["codebook"]["sha256"]
    content["shards"] = [[shard["num_samples"], shard["sha256"]] for shard in header["shards"]]
    if (table := header.get("code_table")) is not None:
        content["code_table"] = {key: table[key] for key in ("sha256", "codebook_size")}
    return sha256_hex(canonical_json(content))


def header_checksum(header: dict[str, Any]) -> str:
    """Return the SHA-256 over the canonical JSON of everything in the header but this checksum."""
    return sha256_hex(canonical_json({key: value for key, value in header.items() if key != "header_sha256"}))


def header_bytes(header: dict[str, Any]) -> bytes:
    """Return the content of `header.json`: the header with its own checksum."""
    sealed = {**header, "header_sha256": header_checksum(header)}
    # One entry per line, one shard per line: `indent` would leave json's fast encoder, which thousands of shards need.
    values = {key: json.dumps(value) for key, value in sealed.items()}
    if isinstance(shards := sealed.get("shards"), list):
        values["shards"] = "[" + ",".join(f"\n  {json.dumps(shard)}" for shard in shards) + "]"
    lines = [f" {json.dumps(key)}: {value}" for key, value in values.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def write_header(folder: Path, header: dict[str, Any]) -> None:
    write_whole(folder / HEADER_FILE, header_bytes(header))


def append_to_list(folder: Path, shard: dict[str, Any]) -> None:
    """Add a line for a shard to `shards.jsonl`, whole or not at all; an `OSError`, as of a full disk, has its name."""
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


def _read_list(path: Path) -> list[bytes]:
    """Read the lines of `shards.jsonl`, but for a torn one, which has no end; none where there is no such file."""
    try:
        return read_file(path, "list of shards", at_most=_MAX_HEADER_BYTES).split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _add_listed(header: dict[str, Any], lines: list[bytes], path: Path) -> None:
    """Add the shards that `shards.jsonl` lists to the header of an unfinished store."""
    known = {shard["file"] for shard in header["shards"]}  # a writer that was killed may have left lines twice
    shards = [parse_json(line, path) for line in lines]
    try:
        check_shards(shards)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    added = [shard for shard in shards if shard["file"] not in known]
    for shard, number in zip(added, itertools.count(next_shard_number(header["shards"])), strict=False):
        if shard["file"] != shard_name(number):
            raise ValueError(
                f"{path} lists {shard['file']} where {shard_name(number)} is the next: a line is missing, twice or out "
                f"of order; restore it, or delete {path.parent} and write the store again"
            )
    header["shards"] += added
    header["num_samples"] = sum(shard["num_samples"] for shard in header["shards"])


def read_header(folder: Path) -> dict[str, Any]:
    """Read and check `header.json`, for an unfinished store with the shards that `shards.jsonl` adds to it.

    Without a header, or with another format's, it is a `NotAStoreError`; one that is damaged, of a newer version or
    contradicts itself is a `ValueError`.
    """
    path = folder / HEADER_FILE
    try:
        content = read_file(path, "store header", at_most=_MAX_HEADER_BYTES)
    except FileNotFoundError as error:
        raise NotAStoreError(f"{folder} is not a token store: it has no {HEADER_FILE}") from error
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
    if not header["complete"]:
        lines = _read_list(folder / SHARD_LIST_FILE)
        if read_file(path, "store header", at_most=_MAX_HEADER_BYTES) != content:
            return read_header(folder)  # a writer has moved the list into the header meanwhile
        _add_listed(header, lines, folder / SHARD_LIST_FILE)
    return header


def check_fields(header: dict[str, Any]) -> None:
    """Check what a checksum cannot: that the writer of the header followed the format; an error names the entry."""
    for key, kinds in _FIELDS.items():
        if key not in header or type(header[key]) not in (kinds if isinstance(kinds, tuple) else (kinds,)):
            found = shown(header[key]) if key in header else "missing"
            raise ValueError(f"{key} is {found}, which is not of the expected JSON type")
    check_codebook_size(header["codebook_size"])
    check_grid(header["grid"], header.get("channels"))
    if "channels" in header:
        whole_number(header["channels"], "channels", 1, MAX_CHANNELS)
    check_values(header["codebook_size"], header.get("channels"), header.get("minimum", 0))
    codec_from_header(header["codec"], header["codebook_size"], header.get("channels"))
    check_labels_entry(header["labels"])
    check_tokenizer_entry(header["tokenizer"])
    for name in header["classes"] or ():
        text(name, "a name in classes")
    for key in SIDE_ENTRIES:
        if header.get(key) is not None:
            _check_side_entry(key, header[key], header)
    whole_number(header["samples_per_shard"], "samples_per_shard", 1, MAX_SAMPLES)
    if (total := check_shards(header["shards"])) != header["num_samples"]:
        raise ValueError(f"num_samples is {header['num_samples']}, but the shards hold {total}")


def check_shards(shards: list[Any]) -> int:
    """Check a list of shards; return the samples that they hold together."""
    total = 0
    for number, shard in enumerate(shards):
        _check_file_entry(shard, f"shard {number}")
        if not shard.keys() >= set(_SHARD_FIELDS):
            raise ValueError(f"shard {number} is {shown(shard)}, expected the fields {', '.join(_SHARD_FIELDS)}")
        _check_sha256(shard, f"shard {number}")
        total += whole_number(shard.get("num_samples"), f"shard {number}: num_samples", 1, MAX_SAMPLES)
        whole_number(shard.get("num_bytes"), f"shard {number}: num_bytes", 0, _MAX_SHARD_BYTES)
    return whole_number(total, "num_samples", 0, MAX_SAMPLES)


def _check_file_entry(entry: Any, name: str) -> None:
    """Check the file of an entry: a name that leaves the folder would let a header read any file."""
    file = entry.get("file") if isinstance(entry, dict) else None
    if not isinstance(file, str) or not re.fullmatch(r"\w[\w.-]{0,250}", file, re.ASCII):
        raise ValueError(f"{name}: file is named in {shown(entry)}, expected a plain file name")


def _check_sha256(entry: dict[str, Any], name: str) -> None:
    if not re.fullmatch("[0-9a-f]{64}", checked_entry(entry, "sha256", str, name)):
        raise ValueError(f"{name}: sha256 is {shown(entry['sha256'])}, expected 64 hexadecimal digits")


def _check_side_entry(key: str, entry: Any, header: dict[str, Any]) -> None:
    size, labels = header["codebook_size"], header["labels"]["kind"]
    if key == "label_maps" and labels != "segmentation":
        raise ValueError(f"label_maps are listed, but the label kind is {labels!r}, expected 'segmentation'")
    if key != "label_maps" and ("channels" in header or header.get("minimum")):
        raise ValueError(f"{key} is listed, but samples with channels or a minimum are no codes of one")
    _check_file_entry(entry, key)
    _check_sha256(entry, key)
    if key == "codebook":
        shape = entry.get("shape")
        rows, dims = shape if isinstance(shape, list) and len(shape) == 2 else (None, None)
        if rows != size or type(dims) is not int or not 1 <= dims <= MAX_CODE_DIM:
            raise ValueError(
                f"codebook: shape is {shown(shape)}, expected [K, D] with K {size} and D in 1..{MAX_CODE_DIM}"
            )
        if entry.get("dtype") != "float32":
            raise ValueError(f"codebook: dtype is {shown(entry.get('dtype'))}, expected 'float32'")
    if key == "code_table":
        try:
            check_codebook_size(entry.get("codebook_size"))
        except ValueError as error:
            raise ValueError(f"code_table: {error}") from error


def check_grid(grid: Any, channels: Any = None) -> tuple[int, int]:
    """Return the grid as (H, W), or raise `ValueError`."""
    values = tuple(grid) if isinstance(grid, list | tuple) else ()
    if len(values) != 2 or not all(type(size) is int and size >= 1 for size in values):
        raise ValueError(f"grid is {shown(grid)}, expected two positive integers (H, W)")
    num_codes = values[0] * values[1] * (channels if type(channels) is int else 1)
    if num_codes > MAX_SAMPLE_CODES:
        raise ValueError(f"grid is {shown(grid)}, {num_codes} codes per sample, expected at most {MAX_SAMPLE_CODES}")
    return values


def check_values(codebook_size: int, channels: Any, minimum: Any) -> None:
    """Raise `ValueError` unless samples can have `channels` (None: plain codes) and values from `minimum`."""
    if channels is not None and (type(channels) is not int or not 1 <= channels <= MAX_CHANNELS):
        raise ValueError(f"channels is {channels!r}, expected None or an integer in 1..{MAX_CHANNELS}")
    if type(minimum) is not int or not -(2**31) <= minimum <= 2**31 - codebook_size:
        raise ValueError(
            f"minimum is {shown(minimum)}, expected an integer such that all {codebook_size} values from it fit into "
            "32 bits"
        )


def check_labels_entry(labels: dict[str, Any]) -> None:
    """Raise `ValueError` unless kind and type of the labels are known and belong together."""
    kind, dtype = labels.get("kind"), labels.get("dtype")
    if "dtype" not in labels:
        raise ValueError(f"labels is {shown(labels)}, expected kind and dtype")
    if kind not in LABEL_KINDS:
        raise ValueError(f"label kind is {shown(kind)}, expected one of {', '.join(LABEL_KINDS)}")
    if kind == "class" and dtype not in LABEL_DTYPES:
        raise ValueError(f"label dtype is {shown(dtype)}, expected one of {', '.join(LABEL_DTYPES)}")
    if kind != "class" and dtype is not None:
        raise ValueError(f"label dtype is {shown(dtype)}, expected null for labels of kind {kind!r}")
