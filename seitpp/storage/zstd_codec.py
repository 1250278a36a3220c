"""The dense codec: every row a Zstandard frame (RFC 8878) of its own, with a dictionary that is trained per shard.

What is compressed are the low bytes of the codes, channel by channel, then their other bits packed: of the layouts that
were measured (fixed-width integers, byte planes, packed bits, this) it takes the fewest bytes, at about the same speed,
see docs/results.md. Frames carry their content size, which bounds what a damaged one can take, and a checksum of
the content, which also tells the dictionary of another shard. Specified in `docs/storage_format.md`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import zstandard

from seitpp.storage.codecs import BitPackedCodec, code_dtype, samples_at_a_time

MAX_DICTIONARY_BYTES = 2**20
# Measured: higher levels take longer for less than 1 % of the bytes, larger dictionaries save nothing.
LEVEL = 15
DICTIONARY_BYTES = 2**12
_TRAINING_ROWS, _TRAINING_BYTES = 2**12, 2**22
# No dictionary pays for itself below, and the trainer of zstd 1.5 crashes on some inputs of a few bytes.
_LEAST_ROW_BYTES, _LEAST_TRAINING_BYTES = 16, 2**12
_TRIAL_ROWS = 2**8


@dataclass(frozen=True)
class ZstdCodec:
    """Rows of variable length: codes become plain rows of one size, and these become frames.

    Args:
        bits: Width of a code, 1..18.
        num_channels: Channels C of a sample, 1 for plain codes.
    """

    bits: int
    num_channels: int = 1
    name: ClassVar[str] = "zstd"

    @classmethod
    def for_codebook(cls, codebook_size: int, num_channels: int = 1) -> "ZstdCodec":
        """The codec with the fewest bits that hold codes in [0, codebook_size)."""
        return cls(max(1, (codebook_size - 1).bit_length()), num_channels)

    def row_bytes(self, num_codes: int) -> int:
        """0: frames have lengths of their own."""
        return 0

    def plain_bytes(self, num_codes: int) -> int:
        """Bytes of a row before compression."""
        return num_codes + (self._high.row_bytes(num_codes) if self.bits > 8 else 0)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Plain rows, uint8 (n, plain_bytes), of codes (n, T)."""
        by_channel = codes.reshape(len(codes), -1, self.num_channels).swapaxes(1, 2).reshape(codes.shape)
        low = (by_channel & 255).astype(np.uint8)
        return low if self.bits <= 8 else np.concatenate([low, self._high.encode(by_channel >> 8)], axis=1)

    def decode(self, rows: np.ndarray, num_codes: int) -> np.ndarray:
        """Codes (n, num_codes) of plain rows, of type uint8, uint16 or int32."""
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

    def compress(self, codes: np.ndarray) -> tuple[bytes, list[bytes]]:
        """The samples of a shard as its dictionary, empty where none pays for itself, and a frame per sample.

        Args:
            codes: Codes (n, T), n at least 1.
        """
        chosen = np.linspace(0, len(codes) - 1, self._training_rows(*codes.shape)).astype(np.int64)
        dictionary = _trained([row.tobytes() for row in self.encode(codes[np.unique(chosen)])], len(codes))
        compress = row_compressor(dictionary, self.plain_bytes(codes.shape[1])).compress
        step, frames = samples_at_a_time(codes.shape[1]), []
        for start in range(0, len(codes), step):
            frames += [compress(row.tobytes()) for row in self.encode(codes[start : start + step])]
        return dictionary, frames

    def _training_rows(self, num_rows: int, num_codes: int) -> int:
        return min(num_rows, _TRAINING_ROWS, max(1, _TRAINING_BYTES // self.plain_bytes(num_codes)))


def _trained(rows: list[bytes], num_rows: int) -> bytes:
    """A dictionary trained on some rows of a shard; nothing if it would take more than it saves in `num_rows` rows."""
    num_bytes = len(rows) * len(rows[0])
    if len(rows[0]) < _LEAST_ROW_BYTES or num_bytes < _LEAST_TRAINING_BYTES:
        return b""
    try:
        dictionary = zstandard.train_dictionary(min(DICTIONARY_BYTES, num_bytes // 8), rows).as_bytes()
    except zstandard.ZstdError:  # too few rows
        return b""
    trial = rows[:: -(-len(rows) // _TRIAL_ROWS)]
    plain, with_it = (
        sum(len(compressor.compress(row)) for row in trial)
        for compressor in (row_compressor(b"", len(rows[0])), row_compressor(dictionary, len(rows[0])))
    )
    return dictionary if (plain - with_it) / len(trial) * num_rows > len(dictionary) else b""


def row_compressor(dictionary: bytes, plain_bytes: int, level: int = LEVEL) -> zstandard.ZstdCompressor:
    """What makes frames of rows of `plain_bytes` bytes that start with `frame_header(plain_bytes)`."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=plain_bytes,
        dict_size=len(dictionary),
        write_content_size=True,
        write_checksum=True,
        write_dict_id=False,
        **({"window_log": (plain_bytes - 1).bit_length()} if plain_bytes > 2**20 else {}),  # a row is one segment
    )
    return zstandard.ZstdCompressor(dict_data=_loaded(dictionary), compression_params=parameters)


def _loaded(dictionary: bytes) -> zstandard.ZstdCompressionDict | None:
    if not dictionary:
        return None
    return zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)


def frame_header(plain_bytes: int) -> bytes:
    """The bytes that start every frame of a row: a single segment of that size, with a checksum, no dictionary ID.

    A frame that starts otherwise is refused before it is decompressed, as it might ask for any amount of memory.
    """
    kind, size = (
        (0, plain_bytes.to_bytes(1, "little"))
        if plain_bytes < 2**8
        else (1, (plain_bytes - 2**8).to_bytes(2, "little"))
        if plain_bytes < 2**16 + 2**8
        else (2, plain_bytes.to_bytes(4, "little"))
    )
    return zstandard.FRAME_HEADER + bytes([kind << 6 | 1 << 5 | 1 << 2]) + size


class FrameReader:
    """Decompresses frames of one shard, for any number of threads.

    Args:
        dictionary: The shard's, empty if it has none.

    Raises:
        ValueError: The dictionary is damaged.
    """

    def __init__(self, dictionary: bytes) -> None:
        self._dictionary = _loaded(dictionary)
        self._of_thread = threading.local()  # a decompressor serves one thread at a time
        try:
            self.decompressor()
        except zstandard.ZstdError as error:
            raise ValueError(f"the dictionary is damaged ({error})") from error

    def decompressor(self) -> Callable[..., bytes]:
        """`decompress` of zstandard for the thread that asks; for frames that start with `frame_header`."""
        try:
            return self._of_thread.decompress
        except AttributeError:
            decompress = zstandard.ZstdDecompressor(dict_data=self._dictionary).decompress
            self._of_thread.decompress = decompress
            return decompress
