"""Rows of frames, gathered over all shards of a batch: the dense codec's side of reading."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

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
        numbers: Number of each sample's shard (n,), ascending.
        positions: Place of each sample in its shard (n,), ascending within a shard.

    Returns:
        Rows, uint8 (n, plain_bytes), and whether each is sound (n,), bool.

    Raises:
        ValueError: A shard has changed, or its dictionary is not its own.
    """
    codec, num_codes = shards[0].codec, shards[0].num_codes
    plain_bytes = codec.plain_bytes(num_codes)
    begins = np.ones(len(numbers), bool)  # of runs of neighbours
    begins[1:] = (positions[1:] - positions[:-1] != 1) | (numbers[1:] != numbers[:-1])
    starts, lengths = _frame_bounds(shards, numbers, positions, begins)
    sizes = np.array([shard.layout.token_bytes for shard in shards])[numbers]
    sound = (starts >= 0) & (starts <= sizes) & (lengths >= 0) & (lengths <= _longest_frame(plain_bytes))
    sound &= starts + np.where(sound, lengths, 0) <= sizes
    if not sound.all():
        starts, lengths, begins = np.where(sound, starts, 0), np.where(sound, lengths, 0), np.ones_like(begins)
    stops = np.cumsum(lengths)
    content = np.empty(int(stops[-1]) if len(stops) else 0, np.uint8)
    first = np.flatnonzero(begins)
    offsets = starts[first] + [shards[number].layout.tokens_offset for number in numbers[first].tolist()]
    ends = np.append(stops[first[1:] - 1], stops[-1:])
    targets = (stops - lengths)[first]
    read_pieces(shards, numbers[first].tolist(), offsets.tolist(), memoryview(content), targets.tolist(), ends.tolist())
    sound &= _starts_with(content, stops - lengths, stops, frame_header(plain_bytes))
    rows, low, high = [], (stops - lengths).tolist(), stops.tolist()
    for start, stop in pairwise([*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(numbers)]):
        part = slice(start, stop)
        rows += shards[numbers[start]].frames().read(content, low[part], high[part], sound[part])
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, plain_bytes), sound


def _frame_bounds(
    shards: Sequence[ZstdShardFile], numbers: np.ndarray, positions: np.ndarray, begins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the frame of each sample starts among those of its shard, and its length, as the row indices say."""
    first = np.flatnonzero(begins)
    counts = np.diff(first, append=len(numbers)) + 1  # one entry more than frames
    ends = 8 * np.cumsum(counts)
    index = np.empty(counts.sum(), "<i8")
    read_pieces(
        shards,
        numbers[first].tolist(),
        (SHARD_HEADER.size + 8 * positions[first]).tolist(),
        memoryview(index.view(np.uint8)),
        (ends - 8 * counts).tolist(),
        ends.tolist(),
    )
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
