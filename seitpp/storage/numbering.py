"""Which codes of a larger codebook the codes of a store stand for."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.untrusted import read_npy
from seitpp.storage.codecs import check_codebook_size
from seitpp.storage.format import CODE_TABLE_FILE, sha256_hex


@dataclass(frozen=True, eq=False)
class CodeTable:
    """Code i of a store is code `codes[i]` of a codebook with `codebook_size` rows.

    Args:
        codes: Original codes (K',) of any integer type, each once, in [0, codebook_size); kept as int32.
        codebook_size: Number K of original codes.

    Raises:
        ValueError: The codes are not such a table; duplicates are named with their places.
    """

    codes: np.ndarray
    codebook_size: int

    def __post_init__(self) -> None:
        check_codebook_size(self.codebook_size)
        object.__setattr__(self, "codes", check_table(self.codes, self.codebook_size))

    def header_entry(self) -> dict[str, Any]:
        """The entry of `header.json`; the hash is over the int32 values, little-endian."""
        stored = np.ascontiguousarray(self.codes, "<i4")
        return {"file": CODE_TABLE_FILE, "sha256": sha256_hex(stored), "codebook_size": int(self.codebook_size)}

    def file(self) -> bytes:
        """Content of `code_table.npy`."""
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(self.codes, "<i4"), allow_pickle=False)
        return content.getvalue()


def check_table(table: Any, codebook_size: int) -> np.ndarray:
    """The table as int32 (K',), or `ValueError` if it is not a list of different codes in [0, codebook_size)."""
    codes = np.asarray(table)
    if codes.ndim != 1 or not len(codes) or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"code table is {codes.dtype} of shape {codes.shape}, expected integers (K',), at least one")
    if (wrong := np.flatnonzero((codes < 0) | (codes >= codebook_size))).size:
        place = wrong[0]
        raise ValueError(f"code table: entry {place} is code {codes[place]}, expected codes in [0, {codebook_size})")
    order = np.argsort(codes, kind="stable")
    if (same := np.flatnonzero(codes[order][1:] == codes[order][:-1])).size:
        first, second = order[same[0]], order[same[0] + 1]
        raise ValueError(f"code table: entries {first} and {second} are both code {codes[first]}, expected each once")
    return codes.astype(np.int32)


def load_code_table(path: Path, entry: dict[str, Any], num_codes: int) -> CodeTable:
    """Read and check `code_table.npy` of a store with `num_codes` codes against its header entry."""
    try:
        codes = read_npy(path, "code table", at_most=4 * num_codes + 4096)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing, the header names it as code_table") from error
    if codes.dtype != np.int32 or codes.shape != (num_codes,):
        raise ValueError(f"{path} holds {codes.dtype} of shape {codes.shape}, expected int32 ({num_codes},)")
    if sha256_hex(np.ascontiguousarray(codes, "<i4")) != entry["sha256"]:
        raise ValueError(f"{path}: SHA-256 of the code table differs from the one in header.json")
    try:
        return CodeTable(codes, entry["codebook_size"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
