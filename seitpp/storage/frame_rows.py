"""Rows of frames, gathered over all shards of a batch: the dense codec's side of reading."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from zstandard import ZstdError

from seitpp.io.stable_file import OpenFiles, read_opened, with_files_open
from seitpp.storage.codecs import code_dtype
from seitpp.storage.shard import SHARD_HEADER
from seitpp.storage.shard_file import ZstdShardFile
from seitpp.storage.zstd_codec import frame_header

_ROWS_AT_A_TIME = 128


def read_frames(
    shards: Sequence[ZstdShardFile], numbers: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Decode samples of several shards: all row indices are read first, then all frames, both while the files are open.

    Args:
        shards: The shards.
        numbers: Number of each sample's shard (n,).
        positions: Position of each sample in its shard (n,).

    Returns:
        Codes (n, T), zeros where a frame is damaged; and whether each is sound (n,), bool.

    Raises:
        ValueError: A shard has changed, or its dictionary is not its own.
    """

    def read(opened: OpenFiles, part: slice) -> tuple[np.ndarray, np.ndarray]:
        return _decoded(shards, *_frames(shards, opened, numbers[part], positions[part]), numbers[part])

    codes, sound = zip(*with_files_open(shards, numbers.tolist(), read), strict=True)
    return (codes[0], sound[0]) if len(codes) == 1 else (np.concatenate(codes), np.concatenate(sound))


def _decoded(
    shards: Sequence[ZstdShardFile], frames: list[memoryview], sound: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, T) of frames, and whether each is sound.

    Shard by shard, so that each dictionary is needed once, and some rows at a time, whose memory stays in the cache.
    """
    codec, num_codes = shards[0].codec, shards[0].num_codes
    codes = np.empty((len(numbers), num_codes), code_dtype(2**codec.bits))
    nothing, of_sample, current = bytes(codec.plain_bytes(num_codes)), numbers.tolist(), -1
    order = np.argsort(numbers, kind="stable")
    for start in range(0, len(order), _ROWS_AT_A_TIME):
        part = order[start : start + _ROWS_AT_A_TIME]
        rows = []
        for sample in part.tolist():
            row = nothing
            if sound[sample]:
                if (number := of_sample[sample]) != current:
                    current, decompress = number, shards[number].frames().decompressor()
                try:
                    row = decompress(frames[sample], allow_extra_data=False)
                except ZstdError:
                    sound[sample] = False
            rows.append(row)
        plain = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), len(nothing))
        codes[part] = codec.decode(plain, num_codes)
    return codes, sound


def _frames(
    shards: Sequence[ZstdShardFile], opened: OpenFiles, numbers: np.ndarray, positions: np.ndarray
) -> tuple[list[memoryview], np.ndarray]:
    """The frames of samples (n), and whether each may be decompressed (n,): it lies in its shard and starts as it must.

    Frames of neighbours are read as one piece.
    """
    header = frame_header(plain_bytes := shards[0].codec.plain_bytes(shards[0].num_codes))
    begins = np.ones(len(numbers), bool)  # of runs of neighbours
    begins[1:] = (positions[1:] - positions[:-1] != 1) | (numbers[1:] != numbers[:-1])
    starts, lengths = _frame_bounds(shards, opened, numbers, positions, begins)
    layouts = {number: shards[number].layout for number in opened}
    sizes = np.array([layouts[number].token_bytes for number in numbers.tolist()], np.int64)
    sound = (starts >= 0) & (starts <= sizes) & (lengths >= 0) & (lengths <= _longest_frame(plain_bytes))
    sound &= starts + np.where(sound, lengths, 0) <= sizes
    if not sound.all():
        starts, lengths, begins = np.where(sound, starts, 0), np.where(sound, lengths, 0), np.ones_like(begins)
    first = np.flatnonzero(begins)
    sections = {number: layout.tokens_offset for number, layout in layouts.items()}
    of_runs = numbers[first].tolist()
    offsets = [sections[number] + start for number, start in zip(of_runs, starts[first].tolist(), strict=True)]
    sizes_of_runs = np.add.reduceat(lengths, first).tolist() if len(first) else []
    content = read_opened(shards, opened, of_runs, offsets, sizes_of_runs)
    stops = np.cumsum(lengths)
    sound &= _starts_with(np.frombuffer(content, np.uint8), stops - lengths, stops, header)
    view = memoryview(content)
    return [view[start:stop] for start, stop in pairwise([0, *stops.tolist()])], sound


def _frame_bounds(
    shards: Sequence[ZstdShardFile],
    opened: OpenFiles,
    numbers: np.ndarray,
    positions: np.ndarray,
    begins: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the frame of each sample starts among those of its shard, and its length, as the row indices say."""
    first = np.flatnonzero(begins)
    counts = np.diff(first, append=len(numbers)) + 1  # one entry more than frames
    offsets = (SHARD_HEADER.size + 8 * positions[first]).tolist()
    index = np.frombuffer(read_opened(shards, opened, numbers[first].tolist(), offsets, (8 * counts).tolist()), "<i8")
    entries = np.arange(len(numbers)) + np.cumsum(begins) - 1
    return index[entries], index[entries + 1] - index[entries]


def _longest_frame(plain_bytes: int) -> int:
    """Bytes of a frame that stores its row as it is, with room to spare: no frame needs more."""
    return plain_bytes + plain_bytes // 128 + 64


def _starts_with(content: np.ndarray, starts: np.ndarray, stops: np.ndarray, header: bytes) -> np.ndarray:
    """Whether each frame (n,) of the content starts with the header."""
    found = stops - starts > len(header)
    heads = content[starts[found, None] + np.arange(len(header))]
    found[found] = (heads == np.frombuffer(header, np.uint8)).all(axis=1)
    return found
