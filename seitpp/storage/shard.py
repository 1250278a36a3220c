"""One shard as bytes: where its sections lie, and making the whole of it from samples.

Every byte is specified in `docs/storage_format.md`.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seitpp.storage.codec_names import Codec
from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.zstd_codec import ZstdCodec

SHARD_MAGIC = b"SEITPPTS"
SHARD_HEADER = struct.Struct("<8sIIQIIQQQQ")
_FIXED_VERSION, _FRAME_VERSION = 1, 2  # shards of rows of one size are as they were in the first version


@dataclass(frozen=True)
class ShardLayout:
    """Where the sections of a shard lie.

    Args:
        num_samples: Samples in the shard, at least 1.
        row_bytes: Bytes of one encoded token row; 0 where rows are frames with lengths of their own.
        label_bytes: Bytes of one label; 0 without labels.
        token_bytes: Bytes of all rows.
        dictionary_bytes: Bytes of the dictionary; only with frames.
        dictionary_crc: CRC-32 of the dictionary; 0 where there is none.
    """

    num_samples: int
    row_bytes: int
    label_bytes: int
    token_bytes: int
    dictionary_bytes: int = 0
    dictionary_crc: int = 0

    @property
    def index_offset(self) -> int:
        """Where the row index starts; 0 if all rows have the same size, and there is none."""
        return 0 if self.row_bytes else SHARD_HEADER.size

    @property
    def dictionary_offset(self) -> int:
        """Where the size of the dictionary stands, followed by it; right after the row index."""
        return SHARD_HEADER.size + 8 * (self.num_samples + 1)

    @cached_property
    def tokens_offset(self) -> int:
        """Where the token rows start."""
        return SHARD_HEADER.size if self.row_bytes else align(self.dictionary_offset + 8 + self.dictionary_bytes)

    @property
    def labels_offset(self) -> int:
        """Where the labels start."""
        return align(self.tokens_offset + self.token_bytes)

    @property
    def checksums_offset(self) -> int:
        """Where the checksums start."""
        return align(self.labels_offset + self.num_samples * self.label_bytes)

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole shard."""
        return self.checksums_offset + 4 * self.num_samples

    def pack(self) -> bytes:
        """The 64-byte header that opens the shard."""
        return SHARD_HEADER.pack(
            SHARD_MAGIC,
            _FIXED_VERSION if self.row_bytes else _FRAME_VERSION,
            self.dictionary_crc,
            self.num_samples,
            self.row_bytes,
            self.label_bytes,
            self.index_offset,
            self.tokens_offset,
            self.labels_offset,
            self.checksums_offset,
        )


def align(offset: int) -> int:
    """The next multiple of 8: sections start there, so that every integer in them is aligned."""
    return -(-offset // 8) * 8


def encode_samples(codec: Codec, codes: np.ndarray, label_bytes: np.ndarray) -> bytes:
    """All bytes of a shard.

    Args:
        codec: How the rows are stored.
        codes: Codes (n, T) in [0, K), n at least 1.
        label_bytes: Labels as they are stored, uint8 (n, L); L is 0 without labels.
    """
    if isinstance(codec, ZstdCodec):
        return _encode_frames(codec, codes, label_bytes)
    row_bytes = codec.row_bytes(codes.shape[1])
    layout = ShardLayout(len(codes), row_bytes, label_bytes.shape[1], len(codes) * row_bytes)
    content = bytearray(layout.num_bytes)
    rows = np.frombuffer(content, np.uint8, layout.token_bytes, layout.tokens_offset).reshape(len(codes), row_bytes)
    step = samples_at_a_time(codes.shape[1])  # in parts, as encoding takes several times their memory
    for start in range(0, len(codes), step):
        rows[start : start + step] = codec.encode(codes[start : start + step])
    return _sealed(content, layout, rows, label_bytes)


def _encode_frames(codec: ZstdCodec, codes: np.ndarray, label_bytes: np.ndarray) -> bytes:
    """`encode_samples` with a frame per row."""
    dictionary, frames = codec.compress(codes)
    offsets = np.cumsum([0, *map(len, frames)])
    layout = ShardLayout(len(codes), 0, label_bytes.shape[1], int(offsets[-1]), len(dictionary), zlib.crc32(dictionary))
    content = bytearray(layout.num_bytes)
    _place(content, layout.index_offset, offsets.astype("<u8").tobytes())
    _place(content, layout.dictionary_offset, struct.pack("<Q", len(dictionary)) + dictionary)
    _place(content, layout.tokens_offset, b"".join(frames))
    return _sealed(content, layout, frames, label_bytes)


def _sealed(
    content: bytearray, layout: ShardLayout, rows: Iterable[bytes | np.ndarray], label_bytes: np.ndarray
) -> bytes:
    """A shard whose rows are in place, with its header, labels and checksums."""
    checksums = np.fromiter(sample_checksums(rows, label_bytes), "<u4", count=layout.num_samples)
    _place(content, 0, layout.pack())
    _place(content, layout.labels_offset, label_bytes.tobytes())
    _place(content, layout.checksums_offset, checksums.tobytes())
    return bytes(content)


def _place(content: bytearray, offset: int, section: bytes | memoryview) -> None:
    """Write a section without changing the size, which views of `content` forbid."""
    memoryview(content)[offset : offset + len(section)] = section


def sample_checksums(rows: Iterable[bytes | np.ndarray], label_bytes: np.ndarray) -> Iterable[int]:
    """CRC-32 of each sample: its row followed by its label bytes, both uint8."""
    for row, label in zip(rows, label_bytes, strict=True):
        yield zlib.crc32(label, zlib.crc32(row))
