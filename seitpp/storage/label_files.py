"""Files of the label maps of a segmentation store: their names, their checksums, and reading them checked.

A decoder of images does not notice every flipped bit. What a header records of the maps (`label_maps`), and the
checksum that each part of a PNG carries, find them. Pixels are the matter of `seitpp.images.label_maps`.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.untrusted import parsing, read_file
from seitpp.storage.header import LABEL_CHECKSUMS_FILE, LABEL_MAPS, sha256_hex
from seitpp.storage.side_files import npy_bytes

_MAX_LABEL_MAP_BYTES = 2**30
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def label_file(number: int) -> str:
    """Return the name of a sample's label map within the store."""
    return f"{LABEL_MAPS}/{number:08d}.png"


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


def read_label_file(store: Path, number: int, checksums: np.ndarray | None, *, sound: bool = False) -> bytes:
    """Read the PNG of a sample's label map; see `StoreReader.read_label_map`."""
    path = store / label_file(number)
    content = read_file(path, "label map", at_most=_MAX_LABEL_MAP_BYTES)
    if checksums is not None and (found := zlib.crc32(content)) != checksums[number]:
        raise ValueError(
            f"{path} is not the label map that the store was made with: its CRC-32 is {found:08x}, expected "
            f"{checksums[number]:08x}. Copy or make the store again"
        )
    if sound:
        check_png(content, path)
    return content


def label_file_problems(store: Path, num_samples: int, checksums: np.ndarray | None) -> Iterator[str]:
    """Yield what is wrong with label maps, naming their files."""
    for number in range(num_samples):
        try:
            read_label_file(store, number, checksums, sound=True)
        except (ValueError, OSError) as error:
            yield str(error)


def found_checksums(store: Path, num_samples: int) -> np.ndarray | None:
    """Return the CRC-32 (N,), uint32, of the label maps that there are now; None unless every sample has one.

    A map that is no whole PNG is a `ValueError`.
    """
    if not all((store / label_file(number)).is_file() for number in range(num_samples)):
        return None
    files = (read_label_file(store, number, None, sound=True) for number in range(num_samples))
    return np.fromiter(map(zlib.crc32, files), np.uint32, count=num_samples)


def pack_checksums(checksums: np.ndarray) -> tuple[bytes, dict[str, Any]]:
    """Return the content of `label_maps.npy` and its header entry, of checksums (N,)."""
    stored = np.ascontiguousarray(checksums, "<u4")
    return npy_bytes(stored), {"file": LABEL_CHECKSUMS_FILE, "sha256": sha256_hex(stored)}
