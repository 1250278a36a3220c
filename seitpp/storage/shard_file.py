"""One shard on disk: checked against the header of its store when it is opened, then read piece by piece."""

import math
import os
import struct
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.stable_file import FileIdentity, StableFile, file_identity, open_regular, too_many_open
from seitpp.storage import format as store_format
from seitpp.storage.codec_names import Codec, codec_from_header
from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.shard import SHARD_HEADER, SHARD_MAGIC, ShardLayout, sample_checksums
from seitpp.storage.zstd_codec import MAX_DICTIONARY_BYTES, FrameReader, ZstdCodec

_MOST_NAMED = 20
_MOST_LOADED_BYTES, _FRAME_READER_BYTES = 2**28, 2**17  # tables of a dictionary, and what zstd works in


class ShardFile(StableFile):
    """The samples of one shard by their positions in it; see `StableFile` for when it is open.

    Args:
        path: The file.
        identity: What told it from other files when it was checked.
        sha256: Hash of its content, by which an exact copy passes for it.
        codec: How its rows are stored.
        layout: Where its sections lie.
        num_codes: Codes of a sample T.
    """

    def __init__(
        self, path: Path, identity: FileIdentity, sha256: str, codec: Codec, layout: ShardLayout, num_codes: int
    ) -> None:
        super().__init__(path, identity, sha256)
        self.codec = codec
        self.layout = layout
        self.num_codes = num_codes

    def __len__(self) -> int:
        return self.layout.num_samples

    def rows(self, start: int, stop: int) -> Iterable[np.ndarray]:
        """The encoded rows of samples start..stop-1, uint8."""
        size = self.layout.row_bytes
        return self.section(self.layout.tokens_offset + start * size, (stop - start) * size).reshape(stop - start, size)

    def label_bytes(self, start: int, stop: int) -> np.ndarray:
        """Labels of samples start..stop-1 as they are stored, uint8 (stop - start, L)."""
        size = self.layout.label_bytes
        return self.section(self.layout.labels_offset + start * size, (stop - start) * size).reshape(stop - start, size)

    def stored_checksums(self, start: int, stop: int) -> np.ndarray:
        """CRC-32 of samples start..stop-1 as the file has them, uint32."""
        return self.section(self.layout.checksums_offset + 4 * start, 4 * (stop - start)).view("<u4")

    def damage(self, first_sample: int) -> list[str]:
        """Lines for a shard whose SHA-256 is wrong: the samples whose own checksum is wrong, if any.

        Args:
            first_sample: Number of the shard's first sample in the store.
        """
        lines = [
            f"{self.path}: sample {first_sample + position} is damaged, CRC-32 is {found:08x}, expected {stored:08x}"
            for position, (found, stored) in enumerate(self._checksums())
            if found != stored
        ]
        return lines or [f"{self.path}: SHA-256 differs from header.json, though every sample matches its own CRC-32"]

    def _checksums(self) -> Iterator[tuple[int, int]]:
        """CRC-32 of every sample, as computed from its bytes and as stored."""
        step = samples_at_a_time(self.num_codes)
        for start in range(0, len(self), step):
            part = start, min(start + step, len(self))
            found = sample_checksums(self.rows(*part), self.label_bytes(*part))
            yield from zip(found, self.stored_checksums(*part).tolist(), strict=True)

    def section(self, offset: int, num_bytes: int) -> np.ndarray:
        """A part of the file, uint8 (num_bytes,)."""
        return np.frombuffer(self.read(offset, num_bytes), np.uint8)


class ZstdShardFile(ShardFile):
    """A shard whose rows are frames.

    Its dictionary is loaded when first needed. It stays loaded when the file is closed to make room for others, as
    loading it takes longer than opening the file, until all that are loaded take 256 MiB.
    """

    codec: ZstdCodec  # type: ignore[assignment]
    _frames: FrameReader | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_frames": None}

    def close(self) -> None:
        """See `StableFile.close`."""
        super().close()
        self._frames = None

    def frames(self) -> FrameReader:
        """What decompresses frames of this shard.

        Raises:
            ValueError: The dictionary is missing, damaged or another shard's.
        """
        frames = self._frames  # another thread may drop it
        if frames is None:
            dictionary = bytes(self.read(self.layout.dictionary_offset + 8, self.layout.dictionary_bytes))
            if (found := zlib.crc32(dictionary)) != self.layout.dictionary_crc:
                raise ValueError(
                    f"{self.path}: the dictionary is missing, damaged or another shard's: its {len(dictionary)} bytes "
                    f"have the CRC-32 {found:08x}, the shard header says {self.layout.dictionary_crc:08x}; restore "
                    "the shard, or make the store again"
                )
            try:
                frames = FrameReader(dictionary)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}; restore the shard, or make the store again") from error
            self._frames = frames
            _LOADED.append(weakref.ref(self))
            _drop_oldest(_MOST_LOADED_BYTES // (_FRAME_READER_BYTES + len(dictionary)))
        return frames

    def rows(self, start: int, stop: int) -> Iterable[np.ndarray]:
        """The frames of samples start..stop-1, uint8.

        Raises:
            ValueError: The row index is damaged.
        """
        bounds = self.section(self.layout.index_offset + 8 * start, 8 * (stop - start + 1)).view("<u8")
        if bounds[-1] > self.layout.token_bytes or (bounds[1:] < bounds[:-1]).any():
            raise ValueError(
                f"{self.path}: the row index of samples {start} to {stop - 1} of the shard is damaged, its offsets do "
                "not rise within the rows; restore the shard, or make the store again"
            )
        frames = self.section(self.layout.tokens_offset + int(bounds[0]), int(bounds[-1] - bounds[0]))
        return (frames[low:high] for low, high in pairwise((bounds - bounds[0]).tolist()))


# Shards in the order in which their dictionaries were loaded; some may be gone.
_LOADED: deque[weakref.ref[ZstdShardFile]] = deque()


def _drop_oldest(kept: int) -> None:
    """Drop dictionaries until at most some are loaded."""
    while len(_LOADED) > kept:
        try:
            shard = _LOADED.popleft()()
        except IndexError:  # another thread was faster
            return
        if shard is not None:
            shard._frames = None


def open_shards(folder: Path, header: dict[str, Any]) -> list[ShardFile]:
    """The shards of a store, after comparing size and header of each with `header.json`; contents are not read.

    Raises:
        ValueError: Names the shards that are missing, have the wrong size, or the wrong header.
        OSError: Too many files are open.
    """
    num_codes = math.prod((*header["grid"], header.get("channels", 1)))
    codec = codec_from_header(header["codec"], header["codebook_size"], header.get("channels"))
    label_bytes = store_format.label_layout(header["labels"])[1]
    kind = ZstdShardFile if isinstance(codec, ZstdCodec) else ShardFile
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
        shards.append(kind(path, identity, entry["sha256"], codec, layout, num_codes))
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise ValueError("; ".join(problems[:_MOST_NAMED]) + more)
    return shards


def _checked_layout(
    path: Path, entry: dict[str, Any], row_bytes: int, label_bytes: int
) -> tuple[ShardLayout, FileIdentity]:
    """Layout and identity of a shard; `ValueError` if size or header are not those that follow from `entry`."""
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
        index_end = os.pread(descriptor.number, 16, SHARD_HEADER.size + 8 * num_samples)
        layout = _layout_of_frames(path, found, index_end, num_samples, label_bytes)
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
        raise ValueError(f"{path}: the {SHARD_HEADER.size}-byte shard header contradicts {store_format.HEADER_FILE}")
    return layout, identity


def _layout_of_frames(path: Path, start: bytes, index_end: bytes, num_samples: int, label_bytes: int) -> ShardLayout:
    """The layout of a shard of frames, as the shard itself says.

    Args:
        path: The shard, for messages.
        start: Its first 64 bytes.
        index_end: The 16 bytes that hold the end of its row index and the length of its dictionary.
        num_samples: Samples in it.
        label_bytes: Bytes of a label.
    """
    if len(index_end) < 16:
        raise ValueError(f"{path}: the row index ends early, expected {num_samples + 1} offsets")
    token_bytes, dictionary_bytes = struct.unpack("<QQ", index_end)
    if dictionary_bytes > MAX_DICTIONARY_BYTES:
        raise ValueError(
            f"{path}: the dictionary has {dictionary_bytes} bytes, expected at most {MAX_DICTIONARY_BYTES}"
        )
    dictionary_crc = SHARD_HEADER.unpack(start)[2]
    return ShardLayout(num_samples, 0, label_bytes, token_bytes, dictionary_bytes, dictionary_crc)
