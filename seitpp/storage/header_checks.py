"""What the entries of `header.json` may be: checked when a store is opened, since anybody may have written it.

A checksum only tells that a header was not damaged. Values are bounded by what a store can hold, so that no size that a
header names can fill the memory.
"""

import re
from collections.abc import Callable
from typing import Any

from seitpp.io.untrusted import entry as checked_entry
from seitpp.io.untrusted import shown, text, whole_number
from seitpp.storage.codec_names import codec_from_header
from seitpp.storage.codecs import check_codebook_size
from seitpp.storage.tokenizer_entry import check_tokenizer_entry

LABEL_KINDS = ("none", "class", "segmentation")
LABEL_DTYPES = ("uint8", "uint16", "uint32")
MAX_CHANNELS = 4096
MAX_SAMPLE_CODES = 2**24
MAX_SAMPLES = 2**40
MAX_CODE_DIM = 2**16
_MAX_SHARD_BYTES = 2**50

_SHARD_FIELDS = ("file", "num_samples", "num_bytes", "sha256")
_NONE = type(None)
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "tokenizer": dict,
    "codebook_size": int,
    "codebook": (dict, _NONE),
    "grid": list,
    "codec": dict,
    "labels": dict,
    "classes": (list, _NONE),
    "source": dict,
    "num_samples": int,
    "complete": bool,
    "samples_per_shard": int,
    "shards": list,
}


def check_fields(header: dict[str, Any]) -> None:
    """Check what a checksum cannot: that the writer of the header followed the format.

    Raises:
        ValueError: It did not; names the entry, without the file.
    """
    for key, kinds in _FIELDS.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if type(header.get(key)) not in kinds or key not in header:
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
    is_plain = "channels" not in header and not header.get("minimum")
    for key, check in _SIDE_ENTRIES.items():
        if header.get(key) is not None:
            if not is_plain and key != "label_maps":
                raise ValueError(f"{key} is listed, but samples with channels or a minimum are no codes of one")
            _check_file_entry(header[key], key)
            _check_sha256(header[key], key)
            check(header[key], header)
    whole_number(header["samples_per_shard"], "samples_per_shard", 1, MAX_SAMPLES)
    if (total := check_shards(header["shards"])) != header["num_samples"]:
        raise ValueError(f"num_samples is {header['num_samples']}, but the shards hold {total}")


def check_shards(shards: list[Any]) -> int:
    """Check a list of shards; returns the samples that they hold together."""
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


def _check_codebook(entry: dict[str, Any], header: dict[str, Any]) -> None:
    shape, size = entry.get("shape"), header["codebook_size"]
    sides = shape if isinstance(shape, list) and len(shape) == 2 else [None, None]
    if sides[0] != size or type(sides[1]) is not int or not 1 <= sides[1] <= MAX_CODE_DIM:
        raise ValueError(f"codebook: shape is {shown(shape)}, expected [K, D] with K {size} and D in 1..{MAX_CODE_DIM}")
    if entry.get("dtype") != "float32":
        raise ValueError(f"codebook: dtype is {shown(entry.get('dtype'))}, expected 'float32'")


def _check_code_table(entry: dict[str, Any], header: dict[str, Any]) -> None:
    try:
        check_codebook_size(entry.get("codebook_size"))
    except ValueError as error:
        raise ValueError(f"code_table: {error}") from error


def _check_label_maps(entry: dict[str, Any], header: dict[str, Any]) -> None:
    if (kind := header["labels"]["kind"]) != "segmentation":
        raise ValueError(f"label_maps are listed, but the label kind is {kind!r}, expected 'segmentation'")


def _check_nothing(entry: dict[str, Any], header: dict[str, Any]) -> None:
    pass


_SIDE_ENTRIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "codebook": _check_codebook,
    "synonyms": _check_nothing,
    "code_table": _check_code_table,
    "label_maps": _check_label_maps,
}


def check_grid(grid: Any, channels: Any = None) -> tuple[int, int]:
    """Return the grid as (H, W), or raise `ValueError`."""
    values = tuple(grid) if isinstance(grid, list | tuple) else ()
    if len(values) != 2 or not all(isinstance(size, int) and type(size) is not bool and size >= 1 for size in values):
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
