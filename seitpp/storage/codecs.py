"""Codecs turn rows of codes into rows of bytes and back; a store names its codec in `header.json`.

A codec is a frozen value without state. Those of this file give every row the same size: `encode` takes codes (n, T)
and gives bytes (n, row_bytes), `decode` is its inverse. The byte layouts are specified in `docs/storage_format.md`.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

MAX_CODEBOOK_SIZE = 2**18
# 64-bit words unpacked at a time: temporaries of 64 KiB stay in the cache, and the C library keeps the heap.
_CHUNK_WORDS = 2**13


class FixedWidthCodec(Protocol):
    """A codec whose rows all have the same size."""

    name: ClassVar[str]

    @classmethod
    def for_codebook(cls, codebook_size: int) -> "FixedWidthCodec":
        """The codec with the parameters that fit codes in [0, codebook_size)."""

    def row_bytes(self, num_codes: int) -> int:
        """Bytes of one encoded row of `num_codes` codes."""

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Encode codes (n, T), already checked to be in range, into uint8 (n, row_bytes)."""

    def decode(self, rows: np.ndarray, num_codes: int) -> np.ndarray:
        """Decode uint8 (n, row_bytes) into codes (n, num_codes) of type `code_dtype`."""


def code_dtype(codebook_size: int) -> np.dtype:
    """The type in which codes are handed out: the smallest of uint8, uint16 and int32 that holds K - 1."""
    return np.dtype(np.uint8 if codebook_size <= 2**8 else np.uint16 if codebook_size <= 2**16 else np.int32)


def value_dtype(codebook_size: int, minimum: int) -> np.dtype:
    """The type in which values in [minimum, minimum + codebook_size) are handed out.

    The smallest of uint8, uint16 and int32 that holds them, of int8, int16 and int32 if some are negative.
    """
    highest = minimum + codebook_size - 1
    candidates = (np.uint8, np.uint16, np.int32) if minimum >= 0 else (np.int8, np.int16, np.int32)
    fitting = (kind for kind in candidates if np.iinfo(kind).min <= minimum and highest <= np.iinfo(kind).max)
    return np.dtype(next(fitting))


def samples_at_a_time(num_codes: int, most: int = 4096) -> int:
    """Samples of `num_codes` codes to work on together: at most `most`, and 2^24 codes, which bounds the memory."""
    return max(1, min(most, 2**24 // num_codes))


def check_codebook_size(codebook_size: int) -> int:
    """Return `codebook_size` if a store can hold its codes, otherwise raise `ValueError`."""
    is_int = isinstance(codebook_size, int | np.integer) and not isinstance(codebook_size, bool)
    if not is_int or not 1 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise ValueError(f"codebook_size is {codebook_size!r}, expected an integer in 1..{MAX_CODEBOOK_SIZE}")
    return int(codebook_size)


@dataclass(frozen=True)
class RawCodec:
    """Every code as one little-endian unsigned integer.

    Args:
        dtype: `uint8`, `uint16` or `uint32`.
    """

    dtype: str
    name: ClassVar[str] = "raw"

    @classmethod
    def for_codebook(cls, codebook_size: int) -> "RawCodec":
        """The codec with the smallest integer type that holds codes in [0, codebook_size)."""
        return cls("uint8" if codebook_size <= 2**8 else "uint16" if codebook_size <= 2**16 else "uint32")

    @property
    def _stored(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    def row_bytes(self, num_codes: int) -> int:
        """Bytes of a row: 1, 2 or 4 for each code."""
        return num_codes * self._stored.itemsize

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Encode codes (n, T) into uint8 (n, row_bytes)."""
        return np.ascontiguousarray(codes, dtype=self._stored).view(np.uint8)

    def decode(self, rows: np.ndarray, num_codes: int) -> np.ndarray:
        """Decode uint8 (n, row_bytes) into codes (n, num_codes) of type uint8, uint16 or int32."""
        codes = np.array(rows, dtype=np.uint8, order="C").view(self._stored).reshape(len(rows), num_codes)
        native = np.dtype(np.int32) if self.dtype == "uint32" else np.dtype(self.dtype)
        return codes.astype(native, copy=False)


@dataclass(frozen=True)
class BitPackedCodec:
    """Every code as `bits` bits, least significant bit first; a row is padded with zero bits to whole bytes.

    Eight codes fill exactly `bits` bytes, so both directions work on columns of such groups, all rows at once.

    Args:
        bits: Width of a code, 1..18.
    """

    bits: int
    name: ClassVar[str] = "bitpacked"

    @classmethod
    def for_codebook(cls, codebook_size: int) -> "BitPackedCodec":
        """The codec with the fewest bits that hold codes in [0, codebook_size)."""
        return cls(max(1, (codebook_size - 1).bit_length()))

    def row_bytes(self, num_codes: int) -> int:
        """Bytes of a row: `num_codes * bits` bits, rounded up to whole bytes."""
        return (num_codes * self.bits + 7) // 8

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Encode codes (n, T), which must fit into `bits` bits, into uint8 (n, row_bytes)."""
        num_rows, num_codes = codes.shape
        num_groups = (num_codes + 7) // 8
        padded = np.zeros((num_rows, num_groups * 8), np.uint32)
        padded[:, :num_codes] = codes
        columns = padded.reshape(num_rows, num_groups, 8)
        packed = np.zeros((num_rows, num_groups, self.bits), np.uint8)
        for k in range(8):
            first_byte, shift = divmod(k * self.bits, 8)
            last_byte = ((k + 1) * self.bits - 1) // 8
            column = columns[:, :, k] << shift
            for byte in range(first_byte, last_byte + 1):
                packed[:, :, byte] |= (column >> (8 * (byte - first_byte))).astype(np.uint8)
        return np.ascontiguousarray(packed.reshape(num_rows, num_groups * self.bits)[:, : self.row_bytes(num_codes)])

    def decode(self, rows: np.ndarray, num_codes: int) -> np.ndarray:
        """Decode uint8 (n, row_bytes) into codes (n, num_codes) of type uint8, uint16 or int32."""
        lane_bits = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        lanes = 64 // lane_bits  # codes that one 64-bit word holds once they are spread out
        num_groups = (num_codes + 7) // 8
        words = np.empty((len(rows), num_groups, 8 // lanes), "<u8")
        chunk_rows = max(1, min(len(rows), _CHUNK_WORDS // num_groups))
        padded = np.zeros((chunk_rows, num_groups * self.bits + 8), np.uint8)
        fields, spare = np.empty((2, chunk_rows, num_groups), np.uint64)
        for start in range(0, len(rows), chunk_rows):
            chunk = rows[start : start + chunk_rows]
            size = len(chunk)
            padded[:size, : chunk.shape[1]] = chunk
            for part in range(8 // lanes):
                byte, shift = divmod(part * lanes * self.bits, 8)
                # One 64-bit word at every group: never aligned for odd widths, and eight spare bytes end each row.
                packed = np.ndarray(
                    (size, num_groups), "<u8", padded, offset=byte, strides=(padded.strides[0], self.bits)
                )
                np.right_shift(packed, np.uint64(shift), out=fields[:size])
                _spread(fields[:size], spare[:size], words[start : start + size, :, part], self.bits, lane_bits)
        codes = words.view("<i4" if lane_bits == 32 else f"<u{lane_bits // 8}").reshape(len(rows), num_groups * 8)
        return np.ascontiguousarray(codes[:, :num_codes], dtype=codes.dtype.newbyteorder("="))


def _spread(words: np.ndarray, spare: np.ndarray, target: np.ndarray, bits: int, lane_bits: int) -> None:
    """Move the `64 / lane_bits` codes packed at the low end of each 64-bit word into lanes of `lane_bits` bits.

    Each step halves the fields: a field holds two halves side by side, the upper one moves up to its own half field.

    Args:
        words: The packed words, uint64; changed.
        spare: Room for as many.
        target: Where the result goes.
        bits: Width of a packed code.
        lane_bits: Width of a lane, below 64.
    """
    field_bits = 64
    while field_bits > lane_bits:
        half_field = field_bits // 2
        half_bits = half_field // lane_bits * bits  # packed codes that belong into half a field
        low = sum(((1 << half_bits) - 1) << offset for offset in range(0, 64, field_bits))
        np.left_shift(words, np.uint64(half_field - half_bits), out=spare)
        np.bitwise_and(spare, np.uint64(low << half_field), out=spare)
        np.bitwise_and(words, np.uint64(low), out=words)
        np.bitwise_or(words, spare, out=words if half_field > lane_bits else target)
        field_bits = half_field
