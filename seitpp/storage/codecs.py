"""Codecs turn codes into rows of bytes and back; a store names its codec in `header.json`.

A codec is a frozen value without state: `encode` takes codes (n, T) and gives bytes (n, R), `decode` is its inverse.
Rows of `raw` and `bitpacked` are stored as they are, those of `zstd` are compressed one by one, see `zstd_rows.py`. The
byte layouts are specified in `docs/storage_format.md`.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from seitpp.io.text import shown

MAX_CODEBOOK_SIZE = 2**18
# 64-bit words unpacked at a time: temporaries of 64 KiB stay in the cache, and the C library keeps the heap.
_CHUNK_WORDS = 2**13


def code_dtype(codebook_size: int, minimum: int = 0) -> np.dtype:
    """Return the type in which a reader gives values in [minimum, minimum + K), by default codes.

    The smallest of uint8, uint16 and int32 that holds them, of int8, int16 and int32 if some are negative.
    """
    highest = minimum + codebook_size - 1
    candidates = (np.uint8, np.uint16, np.int32) if minimum >= 0 else (np.int8, np.int16, np.int32)
    fitting = (kind for kind in candidates if np.iinfo(kind).min <= minimum and highest <= np.iinfo(kind).max)
    return np.dtype(next(fitting))


def samples_at_a_time(num_codes: int, most: int = 4096) -> int:
    """Return how many samples of `num_codes` codes to work on together: at most `most`, and 2^24 codes."""
    return max(1, min(most, 2**24 // num_codes))


def check_codebook_size(codebook_size: int) -> int:
    """Return `codebook_size` if a store can hold its codes, otherwise raise `ValueError`."""
    is_int = isinstance(codebook_size, int | np.integer) and not isinstance(codebook_size, bool)
    if not is_int or not 1 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise ValueError(f"codebook_size is {codebook_size!r}, expected an integer in 1..{MAX_CODEBOOK_SIZE}")
    return int(codebook_size)


@dataclass(frozen=True)
class RawCodec:
    """Every code as one little-endian unsigned integer of type `dtype`: `uint8`, `uint16` or `uint32`."""

    dtype: str
    name: ClassVar[str] = "raw"

    @classmethod
    def for_codebook(cls, codebook_size: int, num_channels: int = 1) -> "RawCodec":
        return cls("uint8" if codebook_size <= 2**8 else "uint16" if codebook_size <= 2**16 else "uint32")

    @property
    def _stored(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    def row_bytes(self, num_codes: int) -> int:
        """Return the bytes of a row: 1, 2 or 4 for each code."""
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
    """Every code as `bits` bits (1..18), least significant bit first; a row is padded with zero bits to whole bytes.

    Eight codes fill exactly `bits` bytes, so both directions work on columns of such groups, all rows at once.
    """

    bits: int
    name: ClassVar[str] = "bitpacked"

    @classmethod
    def for_codebook(cls, codebook_size: int, num_channels: int = 1) -> "BitPackedCodec":
        return cls(max(1, (codebook_size - 1).bit_length()))

    def row_bytes(self, num_codes: int) -> int:
        """Return the bytes of a row: `num_codes * bits` bits, rounded up to whole bytes."""
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
    `words` (uint64) change, `spare` is room for as many.
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


@dataclass(frozen=True)
class ZstdCodec:
    """The dense codec: codes of `bits` bits (1..18) become plain rows of one size, and each of these a Zstandard frame.

    A plain row holds the low bytes of the codes, channel by channel, then their other bits packed: of the layouts that
    were measured (fixed-width integers, byte planes, packed bits, this) it takes the fewest bytes, at about the same
    speed, see docs/results.md. Plain codes have one channel.
    """

    bits: int
    num_channels: int = 1
    name: ClassVar[str] = "zstd"

    @classmethod
    def for_codebook(cls, codebook_size: int, num_channels: int = 1) -> "ZstdCodec":
        return cls(max(1, (codebook_size - 1).bit_length()), num_channels)

    def row_bytes(self, num_codes: int) -> int:
        """Return 0: frames have lengths of their own."""
        return 0

    def plain_bytes(self, num_codes: int) -> int:
        """Return the bytes of a row before compression."""
        return num_codes + (self._high.row_bytes(num_codes) if self.bits > 8 else 0)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Return plain rows, uint8 (n, plain_bytes), of codes (n, T)."""
        by_channel = codes.reshape(len(codes), -1, self.num_channels).swapaxes(1, 2).reshape(codes.shape)
        low = (by_channel & 255).astype(np.uint8)
        return low if self.bits <= 8 else np.concatenate([low, self._high.encode(by_channel >> 8)], axis=1)

    def decode(self, rows: np.ndarray, num_codes: int) -> np.ndarray:
        """Return the codes (n, num_codes) of plain rows, of type uint8, uint16 or int32."""
        if self.bits > 8:
            high = rows[:, num_codes:]
            if self.bits == 9:  # the codebooks of SeiT, and three times as fast
                high = np.unpackbits(high, axis=1, count=num_codes, bitorder="little")
            else:
                high = self._high.decode(high, num_codes)
            codes = high.astype(code_dtype(2**self.bits))
            codes <<= 8
            codes |= rows[:, :num_codes]
        else:
            codes = rows[:, :num_codes].copy()  # rows may be a buffer that nobody may write into
        if self.num_channels > 1:
            planes = codes.reshape(len(codes), self.num_channels, num_codes // self.num_channels)
            codes = planes.swapaxes(1, 2).reshape(codes.shape)
        return codes

    @property
    def _high(self) -> BitPackedCodec:
        """How the bits beyond the low byte are packed."""
        return BitPackedCodec(self.bits - 8)


Codec = RawCodec | BitPackedCodec | ZstdCodec
"""Any of the codecs."""

CODECS: dict[str, type[Codec]] = {codec.name: codec for codec in (RawCodec, BitPackedCodec, ZstdCodec)}
_FORMER_CODECS = ("rans", "rans-context")


def build_codec(name: str, codebook_size: int, channels: int | None = None) -> Codec:
    """Return the codec called `name`, one of `CODECS`, for codes in [0, codebook_size) of samples with `channels`."""
    if not isinstance(name, str) or name not in CODECS:
        raise ValueError(f"codec is {shown(name)}, expected one of {', '.join(sorted(CODECS))}")
    return CODECS[name].for_codebook(check_codebook_size(codebook_size), channels or 1)


def codec_to_header(codec: Codec) -> dict[str, Any]:
    parameters = asdict(codec)
    parameters.pop("num_channels", None)  # an entry of its own
    return {"name": codec.name, **parameters}


def codec_from_header(entry: dict[str, Any], codebook_size: int, channels: int | None = None) -> Codec:
    """Return the codec of a header entry; one of an earlier format, or for another codebook, is a `ValueError`."""
    if entry.get("name") in _FORMER_CODECS:
        raise ValueError(
            f"codec is {shown(entry['name'])} of an earlier format, which is read no more: convert the store with the "
            "release of seitpp that wrote it (0.1), there `python tools/convert_store.py STORE OUT --codec bitpacked`, "
            "and use OUT"
        )
    codec = build_codec(entry.get("name", ""), codebook_size, channels)
    if (expected := codec_to_header(codec)) != entry:
        raise ValueError(f"codec is {shown(entry)}, expected {expected!r} for a codebook of {codebook_size}")
    return codec
