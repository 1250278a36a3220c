"""One shard of a store: where its sections lie, making its bytes from samples, and reading it as a checked file.

Every byte is specified in `docs/storage_format.md`.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.atomic_write import too_many_open
from seitpp.io.stable_file import FileIdentity, StableFile, file_identity, open_regular
from seitpp.storage.codecs import Codec, ZstdCodec, codec_from_header, samples_at_a_time
from seitpp.storage.header import HEADER_FILE, label_layout
from seitpp.storage.zstd_rows import MAX_DICTIONARY_BYTES, FrameReader, compress

SHARD_MAGIC = b"SEITPPTS"
SHARD_HEADER = struct.Struct("<8sIIQIIQQQQ")
_FIXED_VERSION, _FRAME_VERSION = 1, 2  # shards of rows of one size are as they were in the first version
_MOST_NAMED = 20


@dataclass(frozen=True)
class ShardLayout:
    """Where the sections of a shard lie.

    `row_bytes` is 0 where rows are frames with lengths of their own, the only ones with a dictionary; `label_bytes` is
    0 without labels. `token_bytes` are those of all rows.
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
        return SHARD_HEADER.size if self.row_bytes else align(self.dictionary_offset + 8 + self.dictionary_bytes)

    @property
    def labels_offset(self) -> int:
        return align(self.tokens_offset + self.token_bytes)

    @property
    def checksums_offset(self) -> int:
        return align(self.labels_offset + self.num_samples * self.label_bytes)

    @property
    def num_bytes(self) -> int:
        return self.checksums_offset + 4 * self.num_samples

    def pack(self) -> bytes:
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
    """Return the next multiple of 8: sections start there, so that every integer in them is aligned."""
    return -(-offset // 8) * 8


def encode_samples(codec: Codec, codes: np.ndarray, label_bytes: np.ndarray) -> bytes:
    """Return all bytes of a shard: codes (n, T) in [0, K), and labels as they are stored, uint8 (n, L), or (n, 0)."""
    num_label_bytes, beginning = label_bytes.shape[1], []
    rows: list[bytes] | np.ndarray
    if isinstance(codec, ZstdCodec):
        dictionary, rows = compress(codec, codes)
        offsets = np.cumsum([0, *map(len, rows)])
        layout = ShardLayout(len(codes), 0, num_label_bytes, int(offsets[-1]), len(dictionary), zlib.crc32(dictionary))
        beginning = [offsets.astype("<u8").tobytes(), struct.pack("<Q", len(dictionary)), dictionary]
    else:
        row_bytes = codec.row_bytes(codes.shape[1])
        layout = ShardLayout(len(codes), row_bytes, num_label_bytes, len(codes) * row_bytes)
        rows = np.empty((len(codes), row_bytes), np.uint8)
        step = samples_at_a_time(codes.shape[1])  # in parts, as encoding takes several times their memory
        for start in range(0, len(codes), step):
            rows[start : start + step] = codec.encode(codes[start : start + step])
    checksums = np.fromiter(sample_checksums(rows, label_bytes), "<u4", count=len(codes))
    content = bytearray(layout.num_bytes)
    sections = {
        0: b"".join([layout.pack(), *beginning]),
        layout.tokens_offset: b"".join(rows) if isinstance(rows, list) else rows.reshape(-1).data,
        layout.labels_offset: label_bytes.tobytes(),
        layout.checksums_offset: checksums.tobytes(),
    }
    for offset, section in sections.items():
        content[offset : offset + len(section)] = section
    return bytes(content)


def sample_checksums(rows: Iterable[bytes | np.ndarray], label_bytes: np.ndarray) -> Iterable[int]:
    """Yield the CRC-32 of each sample: its row followed by its label bytes, both uint8."""
    for row, label in zip(rows, label_bytes, strict=True):
        yield zlib.crc32(label, zlib.crc32(row))


class ShardFile(StableFile):
    """The samples of one shard by their positions in it; see `StableFile` for when it is open.

    `sha256` is the hash of its content, by which an exact copy passes for it; `num_codes` are those of a sample.
    """

    def __init__(
        self, path: Path, identity: FileIdentity, sha256: str, codec: Codec, layout: ShardLayout, num_codes: int
    ) -> None:
        super().__init__(path, identity, sha256)
        self.codec = codec
        self.layout = layout
        self.num_codes = num_codes
        self.frame_reader: FrameReader | None = None  # of a shard of frames, once it was needed

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "frame_reader": None}

    def __len__(self) -> int:
        return self.layout.num_samples

    def close(self) -> None:
        super().close()
        self.frame_reader = None

    def rows(self, start: int, stop: int) -> Iterable[np.ndarray]:
        """Read the encoded rows of samples start..stop-1, uint8; a damaged index of frames is a `ValueError`."""
        if size := self.layout.row_bytes:
            rows = self.section(self.layout.tokens_offset + start * size, (stop - start) * size)
            return rows.reshape(stop - start, size)
        bounds = self.section(self.layout.index_offset + 8 * start, 8 * (stop - start + 1)).view("<u8")
        if bounds[-1] > self.layout.token_bytes or (bounds[1:] < bounds[:-1]).any():
            raise ValueError(
                f"{self.path}: the row index of samples {start} to {stop - 1} of the shard is damaged, its offsets do "
                "not rise within the rows; restore the shard, or make the store again"
            )
        frames = self.section(self.layout.tokens_offset + int(bounds[0]), int(bounds[-1] - bounds[0]))
        return (frames[low:high] for low, high in pairwise((bounds - bounds[0]).tolist()))

    def damage(self, first_sample: int) -> list[str]:
        """Return lines for a shard whose SHA-256 is wrong: the samples whose own checksum is wrong, if any."""
        lines = [
            f"{self.path}: sample {first_sample + position} is damaged, CRC-32 is {found:08x}, expected {stored:08x}"
            for position, (found, stored) in enumerate(self._checksums())
            if found != stored
        ]
        return lines or [f"{self.path}: SHA-256 differs from header.json, though every sample matches its own CRC-32"]

    def _checksums(self) -> Iterator[tuple[int, int]]:
        """Yield the CRC-32 of every sample, as computed from its bytes and as stored."""
        step, layout = samples_at_a_time(self.num_codes), self.layout
        for start in range(0, len(self), step):
            num, size = min(step, len(self) - start), layout.label_bytes
            labels = self.section(layout.labels_offset + start * size, num * size).reshape(num, size)
            stored = self.section(layout.checksums_offset + 4 * start, 4 * num).view("<u4")
            yield from zip(sample_checksums(self.rows(start, start + num), labels), stored.tolist(), strict=True)

    def section(self, offset: int, num_bytes: int) -> np.ndarray:
        """Read a part of the file, uint8 (num_bytes,)."""
        return np.frombuffer(self.read(offset, num_bytes), np.uint8)


def open_shards(folder: Path, header: dict[str, Any]) -> list[ShardFile]:
    """Open the shards of a store, after comparing size and header of each with `header.json`; contents are not read.

    One `ValueError` names all that are missing or have the wrong size or header; an `OSError`: too many open files.
    """
    num_codes = math.prod((*header["grid"], header.get("channels", 1)))
    codec = codec_from_header(header["codec"], header["codebook_size"], header.get("channels"))
    label_bytes = label_layout(header["labels"])[1]
    shards, problems = [], []
    for entry in header["shards"]:
        path = folder / entry["file"]
        try:
            layout, identity = _checked_layout(path, entry, codec.row_bytes(num_codes), label_bytes)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and too_many_open(error):
                raise
            problems.append(str(error))
            continue
        shards.append(ShardFile(path, identity, entry["sha256"], codec, layout, num_codes))
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise ValueError("; ".join(problems[:_MOST_NAMED]) + more)
    return shards


def _checked_layout(
    path: Path, entry: dict[str, Any], row_bytes: int, label_bytes: int
) -> tuple[ShardLayout, FileIdentity]:
    """Read layout and identity of a shard; `ValueError` if size or header are not those that follow from `entry`."""
    num_samples = entry["num_samples"]
    try:
        descriptor = open_regular(path, "shard")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    identity = file_identity(descriptor.number)
    layout = ShardLayout(num_samples, row_bytes, label_bytes, num_samples * row_bytes)
    expected = layout.num_bytes if row_bytes else entry["num_bytes"]
    if identity.num_bytes != expected or entry["num_bytes"] != expected:
        raise ValueError(
            f"{path} has {identity.num_bytes} bytes, expected {expected} for {num_samples} samples: truncated or "
            "damaged"
        )
    found = os.pread(descriptor.number, SHARD_HEADER.size, 0)
    if found[: len(SHARD_MAGIC)] != SHARD_MAGIC:
        raise ValueError(f"{path} starts with {found[: len(SHARD_MAGIC)]!r}, expected {SHARD_MAGIC!r}: not a shard")
    if not row_bytes:
        sizes = os.pread(descriptor.number, 16, layout.dictionary_offset - 8)  # end of the row index, and dictionary
        if len(sizes) < 16:
            raise ValueError(f"{path}: the row index ends early, expected {num_samples + 1} offsets")
        token_bytes, dictionary_bytes = struct.unpack("<QQ", sizes)
        if dictionary_bytes > MAX_DICTIONARY_BYTES:
            raise ValueError(
                f"{path}: the dictionary has {dictionary_bytes} bytes, expected at most {MAX_DICTIONARY_BYTES}"
            )
        crc = SHARD_HEADER.unpack(found)[2]
        layout = ShardLayout(num_samples, 0, label_bytes, token_bytes, dictionary_bytes, crc)
        if layout.num_bytes != identity.num_bytes:
            raise ValueError(
                f"{path} has {identity.num_bytes} bytes, but row index and dictionary ask for {layout.num_bytes}: "
                "damaged"
            )
    try:
        sealed = layout.pack()
    except struct.error as error:  # a number that no shard header can hold
        raise ValueError(f"{path}: a shard of {num_samples} samples is none that there can be ({error})") from error
    if found != sealed:
        raise ValueError(f"{path}: the {SHARD_HEADER.size}-byte shard header contradicts {HEADER_FILE}")
    return layout, identity
