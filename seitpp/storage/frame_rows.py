"""Rows of frames, gathered over all shards of a batch: the dense codec's side of reading."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from zstandard import ZstdError

from seitpp.io.stable_file import read_pieces
from seitpp.storage.shard import SHARD_HEADER
from seitpp.storage.shard_file import ZstdShardFile
from seitpp.storage.zstd_codec import frame_header


def gather_frames(
    shards: Sequence[ZstdShardFile], numbers: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Plain rows of samples of several shards: all row indices are read first, then all frames.

    Args:
        shards: The shards.
        numbers: Number of each sample's shard (n,).
        positions: Position of each sample in its shard (n,).

    Returns:
        Rows, uint8 (n, plain_bytes), zeros where a frame is damaged; and whether each is sound (n,), bool.

    Raises:
        ValueError: A shard has changed, or its dictionary is not its own.
    """
    plain_bytes = shards[0].codec.plain_bytes(shards[0].num_codes)
    frames, sound = _read_frames(shards, numbers, positions, plain_bytes)
    rows, of_sample, current = [bytes(plain_bytes)] * len(numbers), numbers.tolist(), -1
    order = np.argsort(numbers, kind="stable")  # each dictionary is needed once, however many shards there are
    for sample in order[sound[order]].tolist():
        if (number := of_sample[sample]) != current:
            current, decompress = number, shards[number].frames().decompressor()
        try:
            rows[sample] = decompress(frames[sample], allow_extra_data=False)
        except ZstdError:
            sound[sample] = False
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, plain_bytes), sound


def _read_frames(
    shards: Sequence[ZstdShardFile], numbers: np.ndarray, positions: np.ndarray, plain_bytes: int
) -> tuple[list[memoryview], np.ndarray]:
    """The frames of samples (n), and whether each may be decompressed (n,): it lies in its shard and starts as it must.

    Frames of neighbours are read as one piece.
    """
    begins = np.ones(len(numbers), bool)  # of runs of neighbours
    begins[1:] = (positions[1:] - positions[:-1] != 1) | (numbers[1:] != numbers[:-1])
    starts, lengths = _frame_bounds(shards, numbers, positions, begins)
    layouts = {number: shards[number].layout for number in set(numbers.tolist())}
    sizes = np.array([layouts[number].token_bytes for number in numbers.tolist()], np.int64)
    sound = (starts >= 0) & (starts <= sizes) & (lengths >= 0) & (lengths <= _longest_frame(plain_bytes))
    sound &= starts + np.where(sound, lengths, 0) <= sizes
    if not sound.all():
        starts, lengths, begins = np.where(sound, starts, 0), np.where(sound, lengths, 0), np.ones_like(begins)
    first = np.flatnonzero(begins)
    sections = {number: layout.tokens_offset for number, layout in layouts.items()}
    offsets = [
        sections[number] + start for number, start in zip(numbers[first].tolist(), starts[first].tolist(), strict=True)
    ]
    sizes_of_runs = np.add.reduceat(lengths, first).tolist() if len(first) else []
    content = read_pieces(shards, numbers[first].tolist(), offsets, sizes_of_runs)
    stops = np.cumsum(lengths)
    sound &= _starts_with(np.frombuffer(content, np.uint8), stops - lengths, stops, frame_header(plain_bytes))
    view = memoryview(content)
    return [view[start:stop] for start, stop in pairwise([0, *stops.tolist()])], sound


def _frame_bounds(
    shards: Sequence[ZstdShardFile], numbers: np.ndarray, positions: np.ndarray, begins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the frame of each sample starts among those of its shard, and its length, as the row indices say."""
    first = np.flatnonzero(begins)
    counts = np.diff(first, append=len(numbers)) + 1  # one entry more than frames
    offsets = SHARD_HEADER.size + 8 * positions[first]
    index = np.frombuffer(read_pieces(shards, numbers[first].tolist(), offsets.tolist(), (8 * counts).tolist()), "<i8")
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
