"""The JSON header of a token store with its checks, the content hash, and writing files that appear whole.

Every byte is specified in `docs/storage_format.md`; writer and reader share what is defined here.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.files import written_whole
from seitpp.storage.codec_names import codec_from_header
from seitpp.storage.codecs import check_codebook_size
from seitpp.tokenizer_facts import check_tokenizer_entry

FORMAT = "seitpp-token-store"
VERSION = 1
HEADER_FILE = "header.json"
CODEBOOK_FILE = "codebook.npy"
SYNONYMS_FILE = "synonyms.json"
CODE_TABLE_FILE = "code_table.npy"
LABEL_MAPS = "labels"  # folder of the maps of a segmentation store
SIDE_FILES = (CODEBOOK_FILE, SYNONYMS_FILE, CODE_TABLE_FILE)
LABEL_KINDS = ("none", "class", "segmentation")
LABEL_DTYPES = ("uint8", "uint16", "uint32")
MAX_CHANNELS = 4096

Progress = Callable[[int, int], None]
"""Called with (done, total) while something long runs."""

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
_SHARD_FIELDS: dict[str, type] = {"file": str, "num_samples": int, "num_bytes": int, "sha256": str}


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
        return json.loads(canonical_json(value))
    except (TypeError, ValueError) as error:
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
    return json.dumps(sealed, indent=1).encode("ascii") + b"\n"


def write_header(folder: Path, header: dict[str, Any]) -> None:
    """Write `header.json` with its own checksum."""
    atomic_write(folder / HEADER_FILE, [header_bytes(header)])


def read_header(folder: Path) -> dict[str, Any]:
    """Read and check `header.json`.

    Raises:
        NotAStoreError: There is no header, or it belongs to something else.
        ValueError: The header is damaged, of a newer version, or contradicts itself.
    """
    path = folder / HEADER_FILE
    if not path.is_file():
        raise NotAStoreError(f"{folder} is not a token store: it has no {HEADER_FILE}")
    try:
        header = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is truncated or damaged, it is not valid JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else header
        raise NotAStoreError(f"{path}: format is {found!r}, expected {FORMAT!r}")
    if header.get("version") != VERSION:
        raise ValueError(f"{path}: version is {header.get('version')!r}, this reader knows version {VERSION}")
    if header.get("header_sha256") != header_checksum(header):
        raise ValueError(f"{path}: header_sha256 does not match, the header was damaged or edited by hand")
    try:
        _check_fields(header)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return header


def _check_fields(header: dict[str, Any]) -> None:
    """Check what a checksum cannot: that the writer of the header followed the format."""
    for key, kinds in _FIELDS.items():
        if key not in header or not isinstance(header[key], kinds):
            raise ValueError(f"{key} is {header.get(key)!r}, which is not of the expected JSON type")
    check_codebook_size(header["codebook_size"])
    check_grid(header["grid"])
    check_values(header["codebook_size"], header.get("channels"), header.get("minimum", 0))
    codec_from_header(header["codec"], header["codebook_size"])
    check_labels_entry(header["labels"])
    check_tokenizer_entry(header["tokenizer"])
    for entry in [header["codebook"], header.get("synonyms"), header.get("code_table"), *header["shards"]]:
        # A name that leaves the folder would let a header read any file.
        if entry is None:
            continue
        if not isinstance(entry, dict) or not re.fullmatch(r"\w[\w.-]*", str(entry.get("file")), re.ASCII):
            raise ValueError(f"file is named in {entry!r}, expected a plain file name")
    for number, shard in enumerate(header["shards"]):
        if any(type(shard.get(key)) is not kind for key, kind in _SHARD_FIELDS.items()) or shard["num_samples"] < 1:
            raise ValueError(f"shard {number} is {shard!r}, expected the fields {', '.join(_SHARD_FIELDS)}")
    if (total := sum(shard["num_samples"] for shard in header["shards"])) != header["num_samples"]:
        raise ValueError(f"num_samples is {header['num_samples']}, but the shards hold {total}")


def check_grid(grid: Any) -> tuple[int, int]:
    """Return the grid as (H, W), or raise `ValueError`."""
    values = tuple(grid) if isinstance(grid, list | tuple) else ()
    if len(values) != 2 or not all(isinstance(size, int) and size >= 1 for size in values):
        raise ValueError(f"grid is {grid!r}, expected two positive integers (H, W)")
    return values


def check_values(codebook_size: int, channels: Any, minimum: Any) -> None:
    """Raise `ValueError` unless samples can have `channels` (None: plain codes) and values from `minimum`."""
    if channels is not None and (type(channels) is not int or not 1 <= channels <= MAX_CHANNELS):
        raise ValueError(f"channels is {channels!r}, expected None or an integer in 1..{MAX_CHANNELS}")
    if type(minimum) is not int or not -(2**31) <= minimum <= 2**31 - codebook_size:
        raise ValueError(
            f"minimum is {minimum!r}, expected an integer such that all {codebook_size} values from it fit into 32 bits"
        )


def sample_shape(header: dict[str, Any]) -> tuple[int, ...]:
    """Shape of a sample: (H, W), or (H, W, C) with channels."""
    return (*header["grid"], header["channels"]) if "channels" in header else tuple(header["grid"])


def check_labels_entry(labels: dict[str, Any]) -> None:
    """Raise `ValueError` unless kind and type of the labels are known and belong together."""
    kind, dtype = labels.get("kind"), labels.get("dtype")
    if kind not in LABEL_KINDS:
        raise ValueError(f"label kind is {kind!r}, expected one of {', '.join(LABEL_KINDS)}")
    if kind == "class" and dtype not in LABEL_DTYPES:
        raise ValueError(f"label dtype is {dtype!r}, expected one of {', '.join(LABEL_DTYPES)}")
    if kind != "class" and dtype is not None:
        raise ValueError(f"label dtype is {dtype!r}, expected null for labels of kind {kind!r}")
