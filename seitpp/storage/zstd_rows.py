"""Rows of the dense codec: compressing those of a shard, and reading them at random over all shards of a batch.

Every row is a Zstandard frame (RFC 8878) of its own, with a dictionary that is trained per shard. A frame carries its
content size, which bounds what a damaged one can take, and a checksum of the content, which also tells the dictionary
of another shard. Specified in `docs/storage_format.md`.
"""

import threading
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from seitpp.io.stable_file import OpenFiles, read_opened, with_files_open
from seitpp.storage.codecs import ZstdCodec, code_dtype, samples_at_a_time

if TYPE_CHECKING:
    from seitpp.storage.shard import ShardFile

MAX_DICTIONARY_BYTES = 2**20
# Measured: higher levels take longer for less than 1 % of the bytes, larger dictionaries save nothing.
LEVEL = 15
DICTIONARY_BYTES = 2**12
_TRAINING_ROWS, _TRAINING_BYTES = 2**12, 2**22
# No dictionary pays for itself below, and the trainer of zstd 1.5 crashes on some inputs of a few bytes.
_LEAST_ROW_BYTES, _LEAST_TRAINING_BYTES = 16, 2**12
_TRIAL_ROWS = 2**8
_ROWS_AT_A_TIME = 128  # decompressed and decoded while they are in the cache
_MOST_LOADED_BYTES, _FRAME_READER_BYTES = 2**28, 2**17  # tables of a dictionary, and what zstd works in


def compress(codec: ZstdCodec, codes: np.ndarray) -> tuple[bytes, list[bytes]]:
    """Compress codes (n, T) into a dictionary, empty where none pays for itself, and a frame per sample."""
    plain_bytes = codec.plain_bytes(codes.shape[1])
    num_training = min(len(codes), _TRAINING_ROWS, max(1, _TRAINING_BYTES // plain_bytes))
    chosen = np.linspace(0, len(codes) - 1, num_training).astype(np.int64)
    dictionary = _trained([row.tobytes() for row in codec.encode(codes[np.unique(chosen)])], len(codes))
    compress_row = row_compressor(dictionary, plain_bytes).compress
    step, frames = samples_at_a_time(codes.shape[1]), []
    for start in range(0, len(codes), step):
        frames += [compress_row(row.tobytes()) for row in codec.encode(codes[start : start + step])]
    return dictionary, frames


def _trained(rows: list[bytes], num_rows: int) -> bytes:
    """Train a dictionary on some rows of a shard; empty if it would take more than it saves in `num_rows` rows."""
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
    """Return what makes frames of rows of `plain_bytes` bytes that start with `frame_header(plain_bytes)`."""
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
    """Return the bytes that start every frame of a row: a single segment, a checksum, no dictionary ID, its size.

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
    """Decompresses frames of one shard, for any number of threads; a damaged dictionary is a `ValueError`."""

    def __init__(self, dictionary: bytes) -> None:
        self._dictionary = _loaded(dictionary)
        self._of_thread = threading.local()  # a decompressor serves one thread at a time
        try:
            self.decompressor()
        except zstandard.ZstdError as error:
            raise ValueError(f"the dictionary is damaged ({error})") from error

    def decompressor(self) -> Callable[..., bytes]:
        """Return zstandard's `decompress` for the thread that asks; for frames that start with `frame_header`."""
        try:
            return self._of_thread.decompress
        except AttributeError:
            decompress = zstandard.ZstdDecompressor(dict_data=self._dictionary).decompress
            self._of_thread.decompress = decompress
            return decompress


# Shards in the order in which their dictionaries were loaded; some may be gone.
_LOADED: deque[weakref.ref["ShardFile"]] = deque()


def frame_reader(shard: "ShardFile") -> FrameReader:
    """Return what decompresses frames of a shard, with its dictionary, which is loaded when first needed.

    It stays loaded when the file is closed to make room for others, as loading it takes longer than opening the file,
    until all dictionaries that are loaded take 256 MiB. One that is missing, damaged or another's is a `ValueError`.
    """
    reader = shard.frame_reader  # another thread may drop it
    if reader is None:
        layout = shard.layout
        dictionary = bytes(shard.read(layout.dictionary_offset + 8, layout.dictionary_bytes))
        if (found := zlib.crc32(dictionary)) != layout.dictionary_crc:
            raise ValueError(
                f"{shard.path}: the dictionary is missing, damaged or another shard's: its {len(dictionary)} bytes "
                f"have the CRC-32 {found:08x}, the shard header says {layout.dictionary_crc:08x}; restore the shard, "
                "or make the store again"
            )
        try:
            reader = FrameReader(dictionary)
        except ValueError as error:
            raise ValueError(f"{shard.path}: {error}; restore the shard, or make the store again") from error
        shard.frame_reader = reader
        _LOADED.append(weakref.ref(shard))
        with suppress(IndexError):  # another thread was faster
            while len(_LOADED) > _MOST_LOADED_BYTES // (_FRAME_READER_BYTES + len(dictionary)):
                if (oldest := _LOADED.popleft()()) is not None:
                    oldest.frame_reader = None
    return reader


def read_frames(
    shards: Sequence["ShardFile"], numbers: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Decode samples of several shards: all row indices are read first, then all frames, both while the files are open.

    Takes number of the shard and position in it of each sample, (n,). Returns codes (n, T), zeros where a frame is
    damaged, and whether each is sound (n,). A shard that has changed is a `ValueError`, as is another's dictionary.
    """

    def read(opened: OpenFiles, part: slice) -> tuple[np.ndarray, np.ndarray]:
        return _decoded(shards, *_frames(shards, opened, numbers[part], positions[part]), numbers[part])

    codes, sound = zip(*with_files_open(shards, numbers.tolist(), read), strict=True)
    return (codes[0], sound[0]) if len(codes) == 1 else (np.concatenate(codes), np.concatenate(sound))


def _decoded(
    shards: Sequence["ShardFile"], frames: list[memoryview], sound: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Decompress and decode frames, shard by shard, so that each dictionary is needed once."""
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
                    current, decompress = number, frame_reader(shards[number]).decompressor()
                try:
                    row = decompress(frames[sample], allow_extra_data=False)
                except zstandard.ZstdError:
                    sound[sample] = False
            rows.append(row)
        plain = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), len(nothing))
        codes[part] = codec.decode(plain, num_codes)
    return codes, sound


def _frames(
    shards: Sequence["ShardFile"], opened: OpenFiles, numbers: np.ndarray, positions: np.ndarray
) -> tuple[list[memoryview], np.ndarray]:
    """Read the frames of samples (n), and whether each may be decompressed (n,): it lies in its shard and starts right.

    Frames of neighbours are read as one piece.
    """
    plain_bytes = shards[0].codec.plain_bytes(shards[0].num_codes)
    longest = plain_bytes + plain_bytes // 128 + 64  # a frame that stores its row as it is, with room to spare
    begins = np.ones(len(numbers), bool)  # of runs of neighbours
    begins[1:] = (positions[1:] - positions[:-1] != 1) | (numbers[1:] != numbers[:-1])
    starts, lengths = _frame_bounds(shards, opened, numbers, positions, begins)
    layouts = {number: shards[number].layout for number in opened}
    sizes = np.array([layouts[number].token_bytes for number in numbers.tolist()], np.int64)
    sound = (starts >= 0) & (starts <= sizes) & (lengths >= 0) & (lengths <= longest)
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
    sound &= _starts_with(np.frombuffer(content, np.uint8), stops - lengths, stops, frame_header(plain_bytes))
    view = memoryview(content)
    return [view[start:stop] for start, stop in pairwise([0, *stops.tolist()])], sound


def _frame_bounds(
    shards: Sequence["ShardFile"],
    opened: OpenFiles,
    numbers: np.ndarray,
    positions: np.ndarray,
    begins: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Read where the frame of each sample starts among those of its shard, and its length, as the row indices say."""
    first = np.flatnonzero(begins)
    counts = np.diff(first, append=len(numbers)) + 1  # one entry more than frames
    offsets = (shards[0].layout.index_offset + 8 * positions[first]).tolist()
    index = np.frombuffer(read_opened(shards, opened, numbers[first].tolist(), offsets, (8 * counts).tolist()), "<i8")
    entries = np.arange(len(numbers)) + np.cumsum(begins) - 1
    return index[entries], index[entries + 1] - index[entries]


def _starts_with(content: np.ndarray, starts: np.ndarray, stops: np.ndarray, header: bytes) -> np.ndarray:
    """Tell of each frame (n,) of the content whether it starts with the header."""
    found = stops - starts > len(header)
    heads = content[starts[found, None] + np.arange(len(header))]
    found[found] = (heads == np.frombuffer(header, np.uint8)).all(axis=1)
    return found
