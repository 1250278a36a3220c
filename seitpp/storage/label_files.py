"""Files of the label maps of a segmentation store: their names, their checksums, and reading them checked.

A decoder of images does not notice every flipped bit. What a header records of the maps (`label_maps`), and the
checksum that each part of a PNG carries, find them. Pixels are the matter of `seitpp.images.label_maps`.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.untrusted import parsing, read_file, read_npy
from seitpp.storage import format as store_format

MAX_LABEL_MAP_BYTES = 2**30
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def label_file(number: int) -> str:
    """Name of a sample's label map within the store."""
    return f"{store_format.LABEL_MAPS}/{number:08d}.png"


def check_png(content: bytes, source: str | Path) -> None:
    """Raise `ValueError` unless these are the bytes of a whole PNG whose parts match their own CRC-32."""
    with parsing(source, "a whole PNG", "Copy or make the store again"):
        if not content.startswith(_SIGNATURE):
            raise ValueError(f"it starts with {content[:8]!r}")
        at, kind = len(_SIGNATURE), b""
        while kind != b"IEND":
            length, kind = struct.unpack_from(">I4s", content, at) if len(content) >= at + 8 else (0, b"")
            end = at + 8 + length
            if len(content) < end + 4:
                raise ValueError("it ends early")
            if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
                raise ValueError(f"the part {kind!r} at byte {at} does not match its CRC-32")
            at = end + 4


def checked_label_file(store: Path, number: int, checksum: int | None) -> bytes:
    """The bytes of a sample's label map.

    Args:
        store: Folder of the store.
        number: Number of the sample.
        checksum: CRC-32 that the store records of the file; None for a store that records none.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is another file than the store was made with.
    """
    path = store / label_file(number)
    content = read_file(path, "label map", at_most=MAX_LABEL_MAP_BYTES)
    if checksum is not None and (found := zlib.crc32(content)) != checksum:
        raise ValueError(
            f"{path} is not the label map that the store was made with: its CRC-32 is {found:08x}, expected "
            f"{checksum:08x}. Copy or make the store again"
        )
    return content


def sound_label_file(store: Path, number: int, checksum: int | None) -> bytes:
    """`checked_label_file`, also compared with the checksums within the PNG: for what is written anew."""
    content = checked_label_file(store, number, checksum)
    check_png(content, store / label_file(number))
    return content


def label_file_problems(store: Path, num_samples: int, checksums: np.ndarray | None) -> Iterator[str | None]:
    """For each label map what is wrong with it, naming its file; None for a sound one."""
    for number in range(num_samples):
        try:
            sound_label_file(store, number, None if checksums is None else int(checksums[number]))
        except (ValueError, OSError) as error:
            yield str(error)
        else:
            yield None


def found_checksums(store: Path, num_samples: int) -> np.ndarray | None:
    """CRC-32 (N,), uint32, of the label maps that there are now; None unless every sample has one.

    Raises:
        ValueError: One is no whole PNG.
    """
    if not all((store / label_file(number)).is_file() for number in range(num_samples)):
        return None
    files = (sound_label_file(store, number, None) for number in range(num_samples))
    return np.fromiter(map(zlib.crc32, files), np.uint32, count=num_samples)


def pack_checksums(checksums: np.ndarray) -> tuple[bytes, dict[str, Any]]:
    """Content of `label_maps.npy` and its header entry, of checksums (N,)."""
    stored = np.ascontiguousarray(checksums, "<u4")
    file = io.BytesIO()
    np.save(file, stored, allow_pickle=False)
    return file.getvalue(), {
        "file": store_format.LABEL_CHECKSUMS_FILE,
        "sha256": store_format.sha256_hex(stored),
    }


def load_checksums(store: Path, header: dict[str, Any]) -> np.ndarray | None:
    """CRC-32 (N,) of the label maps as the store records them; None for stores that record none.

    Raises:
        FileNotFoundError: Their file is missing.
        ValueError: Their file is damaged.
    """
    entry = header.get("label_maps")
    if entry is None:
        return None
    path, num_samples = store / entry["file"], header["num_samples"]
    found = read_npy(path, "file of label map checksums", at_most=4 * num_samples + 4096)
    if found.dtype != np.uint32 or found.shape != (num_samples,):
        raise ValueError(f"{path} holds {found.dtype} of shape {found.shape}, expected uint32 ({num_samples},)")
    if store_format.sha256_hex(np.ascontiguousarray(found, "<u4")) != entry["sha256"]:
        raise ValueError(f"{path}: SHA-256 of the checksums differs from the one in {store_format.HEADER_FILE}")
    return found
