"""One part of token pairs: opened, compared with the header of its pairs, and read by groups, each with its CRC-32."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.stable_file import FileIdentity, file_identity
from seitpp.io.untrusted import check_regular_file, whole_number
from seitpp.storage import format as store_format

DRAWS = "draws."
CHECKSUMS, HEADER_HASH = "checksums", "header"
_REMEDY = "delete the file and run tools/make_token_pairs.py again"


class PairPart:
    """An open part.

    Args:
        path: The file.
        header: What `pairs.json` says.

    Raises:
        ValueError: The file is damaged or belongs to other pairs.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        from safetensors import SafetensorError, safe_open

        self.path, self.header = path, header
        self._identity: FileIdentity = file_identity(check_regular_file(path, "token pairs"))
        try:
            self._file = safe_open(path, framework="np")
            self._names = set(self._file.keys())
            own = {name: self._file.get_tensor(name) for name in (CHECKSUMS, HEADER_HASH) if name in self._names}
        except (SafetensorError, ValueError, TypeError, KeyError) as error:  # what it raises for damaged headers
            raise ValueError(f"token pairs {path} are damaged ({error}); {_REMEDY}") from error
        self._checksums = own.get(CHECKSUMS)
        if len(own) == 1 or (own and not np.array_equal(own[HEADER_HASH], place_hash(header, path))):
            raise ValueError(
                f"token pairs {path} belong to other pairs than pairs.json says, or are damaged; {_REMEDY}"
            )
        if self._checksums is not None and (self._checksums.dtype != np.uint32 or self._checksums.ndim != 1):
            raise ValueError(f"token pairs {path} are damaged (their checksums are none); {_REMEDY}")

    def read_group(self, place: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
        """The group at a place of the part; see `TokenPairReader.read_group`."""
        from safetensors import SafetensorError

        if file_identity(self.path) != self._identity:
            raise ValueError(f"token pairs {self.path} have changed since they were opened; open them again")
        size = int(self.header["group_size"])
        rows = slice(place * size, (place + 1) * size)
        names = self._names - {CHECKSUMS, HEADER_HASH}
        try:
            arrays = {name: self._file.get_slice(name)[rows] for name in sorted(names)}
            found = self._checked(arrays, size)
        except (ValueError, IndexError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"token pairs {self.path} do not hold what their header says: {error}") from error
        if self._checksums is not None:
            expected = int(self._checksums[place]) if place < len(self._checksums) else None
            if group_checksum(arrays) != expected:
                raise ValueError(f"token pairs {self.path}: group {place} is damaged, its CRC-32 is wrong; {_REMEDY}")
        return found

    def _checked(
        self, arrays: Mapping[str, np.ndarray], size: int
    ) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
        """The arrays of a group by their purpose; `ValueError` where they cannot be those of a group."""
        draws: list[dict[str, np.ndarray]] = [{} for _ in self.header["augments"]]
        for name, values in arrays.items():
            if len(values) != size:
                raise ValueError(f"{name} has {len(values)} pairs in a group, expected {size}")
            if name in ("source", "target"):
                _check_tokens(name, values, self.header)
                continue
            number, field = name.removeprefix(DRAWS).split(".", 1)
            draws[whole_number(int(number), name, 0, len(draws) - 1)][field] = values
            if field == "partner" and (values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= size):
                raise ValueError(f"{name} has a partner that is none of the {size} pairs of a group")
        return arrays["source"], arrays["target"], draws


def _check_tokens(name: str, tokens: np.ndarray, header: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless these are tokens of the grid and codebook that the header names."""
    grid = header["grid" if name == "source" else "out_grid"]
    expected = tuple(grid) + (() if header.get("channels") is None else (header["channels"],))
    if tokens.dtype.kind not in "iu" or tokens.shape[1:] != expected:
        raise ValueError(f"{name} is {tokens.dtype} of shape {tokens.shape}, expected integers (n, *{expected})")
    size = header.get("codebook_size") if header["codebook_sha256"] is not None else None
    if size is not None and (tokens.min() < 0 or tokens.max() >= size):
        raise ValueError(f"{name} has codes in [{tokens.min()}, {tokens.max()}], expected them in [0, {size})")


def group_checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """CRC-32 over the names, types, shapes and values of the arrays of a group."""
    crc = 0
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        crc = zlib.crc32(f"{name}:{values.dtype}:{values.shape};".encode(), crc)
        crc = zlib.crc32(values.reshape(-1).view(np.uint8), crc)
    return crc


def place_hash(header: Mapping[str, Any], path: Path) -> np.ndarray:
    """SHA-256 of a header and the name of a part of its pairs as an array, (32,), uint8: parts are made of arrays."""
    content = f"{store_format.header_checksum(dict(header))} {path.name}".encode()
    return np.frombuffer(bytes.fromhex(store_format.sha256_hex(content)), np.uint8)
