"""Frequencies of symbols, one table for each context that their left and upper neighbours make; to bytes and back.

A model belongs to one shard. A channel has two maps from the code of a neighbour to a group, and a table of frequencies
for every pair of a left and an upper group; with one group each it is a model of order 0. The bytes are specified in
`docs/storage_format.md`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MIN_SCALE_BITS, MAX_SCALE_BITS = 12, 16
MAX_ENTROPY_CODES = 2**MAX_SCALE_BITS
MAX_SLOTS = 2**22  # entries of the decoder's tables, 8 bytes each, unless every channel has a single context


@dataclass(frozen=True, eq=False)
class ChannelModel:
    """Contexts and frequencies of one channel.

    Args:
        left_groups: Group of each code (K + 1,) as left neighbour, uint8; the last entry is for no neighbour.
        upper_groups: The same for the upper neighbour.
        freqs: Frequencies (left groups, upper groups, K), int64; a table sums to 2 ** scale_bits, or is all zero.
    """

    left_groups: np.ndarray
    upper_groups: np.ndarray
    freqs: np.ndarray

    @property
    def num_contexts(self) -> int:
        """Pairs of a left and an upper group."""
        return self.freqs.shape[0] * self.freqs.shape[1]

    @cached_property
    def flat_freqs(self) -> np.ndarray:
        """Frequencies (contexts * K,), uint32."""
        return self.freqs.reshape(-1).astype(np.uint32)

    @cached_property
    def flat_starts(self) -> np.ndarray:
        """Sum of the frequencies of lower codes in the same context (contexts * K,), uint32."""
        return (np.cumsum(self.freqs, axis=2) - self.freqs).reshape(-1).astype(np.uint32)

    def contexts(self, plane: np.ndarray) -> np.ndarray:
        """Number of the context, int64 (n, H, W), of every code (n, H, W) of this channel."""
        if self.num_contexts == 1:
            return np.zeros(plane.shape, np.int64)
        left, upper = neighbours(plane, self.freqs.shape[2])
        return self.left_groups.astype(np.int64)[left] * self.freqs.shape[1] + self.upper_groups[upper]


@dataclass(frozen=True, eq=False)
class EntropyModel:
    """The models of all channels of a shard.

    Args:
        scale_bits: Frequencies of a table sum to 2 ** scale_bits.
        channels: One model for each channel.
    """

    scale_bits: int
    channels: tuple[ChannelModel, ...]

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return self.channels[0].freqs.shape[2]

    @cached_property
    def least_bits(self) -> float:
        """Bits that every code takes at least, those of the most frequent one."""
        most = max(int(model.freqs.max()) for model in self.channels)
        return self.scale_bits - math.log2(max(1, most))

    def intervals(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frequency and start of the interval of every code (n, H, W, C), each (T, n) uint32 in order of the stream."""
        freqs, starts = np.empty((2, *codes.shape), np.uint32)
        for channel, model in enumerate(self.channels):
            plane = codes[..., channel]
            where = model.contexts(plane) * self.codebook_size + plane
            freqs[..., channel] = model.flat_freqs.take(where)
            starts[..., channel] = model.flat_starts.take(where)
        if not freqs.all():
            raise ValueError("a code has no frequency in its context: the tables were fitted to other samples")
        return freqs.reshape(len(codes), -1).T, starts.reshape(len(codes), -1).T

    @cached_property
    def _slots(self) -> list[np.ndarray]:
        """For each channel what every slot of every context decodes to, uint64 (contexts << scale_bits,).

        From the lowest bits: distance to the start of the interval (16), symbol (16), frequency (32).
        """
        return [self._channel_slots(model) for model in self.channels]

    def _channel_slots(self, model: ChannelModel) -> np.ndarray:
        size = 1 << self.scale_bits
        freqs = model.freqs.reshape(-1, self.codebook_size)
        slots = np.zeros((len(freqs), size), np.uint64)
        for context, table in enumerate(freqs):
            symbols = np.flatnonzero(table)
            if not len(symbols):
                continue  # never reached by a sound row; zeros keep a damaged one in range
            chosen = table[symbols]
            starts = np.cumsum(chosen) - chosen
            entry = (chosen.astype(np.uint64) << np.uint64(32)) | (symbols.astype(np.uint64) << np.uint64(16))
            slots[context] = np.repeat(entry, chosen) + (np.arange(size) - np.repeat(starts, chosen)).astype(np.uint64)
        return slots.reshape(-1)

    def walk(self, codes: np.ndarray, shape: tuple[int, int, int]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """For every step of decoding the slots to look up, and where those of each row's context start, (n,).

        None stands for a channel with a single context. `codes` (T, n) is read as far as it has been decoded.
        """
        height, width, channels = shape
        grid = codes.reshape(height, width, channels, -1)
        none = self.codebook_size
        bases = [self._context_starts(model) for model in self.channels]
        for row in range(height):
            uppers = [
                None if left is None else upper[none] if not row else upper.take(grid[row - 1, :, channel])
                for channel, (left, upper) in enumerate(bases)
            ]
            for column in range(width):
                for channel, (left, _) in enumerate(bases):
                    contexts = None
                    if left is not None:
                        upper = uppers[channel] if not row else uppers[channel][column]
                        before = left[none] if not column else left.take(grid[row, column - 1, channel])
                        contexts = before + upper
                    yield self._slots[channel], contexts

    def _context_starts(self, model: ChannelModel) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What a left and an upper neighbour (K + 1,) add to the start of the context's slots; None for one context."""
        if model.num_contexts == 1:
            return None, None
        left = (model.left_groups.astype(np.intp) * model.freqs.shape[1]) << self.scale_bits
        return left, model.upper_groups.astype(np.intp) << self.scale_bits

    def to_bytes(self) -> bytes:
        """The tables as they are kept, before compression."""
        parts = [bytes([self.scale_bits])]
        for model in self.channels:
            left, upper, _ = model.freqs.shape
            parts.append(bytes([left, upper]))
            parts += [
                groups.tobytes() for groups, num in ((model.left_groups, left), (model.upper_groups, upper)) if num > 1
            ]
            parts.append(pack_numbers(model.freqs.reshape(-1)))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, content: bytes, codebook_size: int, num_channels: int) -> "EntropyModel":
        """The model that `to_bytes` described.

        Raises:
            ValueError: The bytes are not such tables.
        """
        tables = np.frombuffer(content, np.uint8)
        scale_bits, at = int(tables[0]) if len(tables) else 0, 1
        if not MIN_SCALE_BITS <= scale_bits <= MAX_SCALE_BITS:
            raise ValueError(f"tables have {scale_bits} scale bits, expected {MIN_SCALE_BITS} to {MAX_SCALE_BITS}")
        channels: list[ChannelModel] = []
        num_contexts = 0
        for _ in range(num_channels):
            counts, maps = tables[at : at + 2].tolist(), []
            if len(counts) < 2 or 0 in counts:
                raise ValueError(f"tables name {counts} groups, expected two numbers of at least 1")
            at += 2
            num_contexts += counts[0] * counts[1]
            if num_contexts << scale_bits > max(MAX_SLOTS, num_channels << scale_bits):  # some bytes of zlib say so
                raise ValueError(
                    f"tables have {num_contexts} contexts of {1 << scale_bits} slots or more, expected at most "
                    f"{MAX_SLOTS} slots in all, or one context for each channel"
                )
            for count in counts:
                groups = tables[at : at + codebook_size + 1] if count > 1 else np.zeros(codebook_size + 1, np.uint8)
                at += len(groups) if count > 1 else 0
                if len(groups) <= codebook_size or groups.max() >= count:
                    raise ValueError(f"tables have a map to groups that is no map of {codebook_size + 1} to {count}")
                maps.append(groups)
            freqs, used = unpack_numbers(tables[at:], counts[0] * counts[1] * codebook_size)
            at += used
            freqs = freqs.reshape(*counts, codebook_size)
            if not np.isin(freqs.sum(axis=2), (0, 1 << scale_bits)).all():
                raise ValueError(f"tables have frequencies that do not sum to {1 << scale_bits}")
            channels.append(ChannelModel(*maps, freqs))
        if at != len(tables):
            raise ValueError(f"tables have {len(tables)} bytes, {at} were expected")
        return cls(scale_bits, tuple(channels))


def neighbours(plane: np.ndarray, none: int) -> tuple[np.ndarray, np.ndarray]:
    """Left and upper neighbour of every code (n, H, W), each int32 (n, H, W); `none` where there is no neighbour."""
    left, upper = np.full((2, *plane.shape), none, np.int32)
    left[:, :, 1:] = plane[:, :, :-1]
    upper[:, 1:] = plane[:, :-1]
    return left, upper


def quantise(counts: np.ndarray, scale_bits: int) -> np.ndarray:
    """Frequencies in proportion to counts, with integers alone.

    Args:
        counts: Occurrences (R, K), int64.
        scale_bits: The frequencies of a row sum to 2 ** scale_bits.

    Returns:
        Frequencies (R, K), int64: at least 1 where the count is not 0, and 0 elsewhere; a row without counts is zero.
    """
    size, occurs = 1 << scale_bits, counts > 0
    rare = np.zeros_like(occurs)
    while True:  # symbols that would get less than 1 get 1, the others share the rest; ends, as `rare` only grows
        rest = (size - rare.sum(axis=1))[:, None]
        shared = np.where(rare, 0, counts)
        total = np.maximum(shared.sum(axis=1), 1)[:, None]
        scaled = shared * rest
        more = occurs & ~rare & (scaled < total)
        if not more.any():
            break
        rare |= more
    freqs = np.where(rare, 1, scaled // total)
    missing = np.where(occurs.any(axis=1), size - freqs.sum(axis=1), 0)
    remainders = np.where(occurs & ~rare, scaled % total, -1)
    ranks = np.empty_like(counts)
    np.put_along_axis(ranks, np.argsort(-remainders, axis=1, kind="stable"), np.arange(counts.shape[1])[None], axis=1)
    freqs += ranks < missing[:, None]  # the largest remainders first, lower codes before higher
    return freqs


def pack_numbers(numbers: np.ndarray) -> bytes:
    """Numbers (n,) in [0, 2^21), each as one to three bytes of seven bits, the lowest first; bit 7: more follow."""
    values = numbers.astype(np.uint32)
    septets = np.stack([values & 127, values >> 7 & 127, values >> 14], axis=1).astype(np.uint8)
    lengths = 1 + (values >= 2**7) + (values >= 2**14)
    septets[:, 0] |= (lengths > 1).astype(np.uint8) << 7
    septets[:, 1] |= (lengths > 2).astype(np.uint8) << 7
    return septets[np.arange(3) < lengths[:, None]].tobytes()


def unpack_numbers(content: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """The first `count` numbers (count,), int64, of `pack_numbers`, and how many bytes they took."""
    stops = np.flatnonzero(content < 128)[:count]
    if len(stops) < count:
        raise ValueError(f"tables hold {len(stops)} numbers, expected {count}")
    starts = np.concatenate([[0], stops[:-1] + 1])
    lengths = stops - starts + 1
    if lengths.max() > 3:
        raise ValueError("tables hold a number of more than three bytes")
    values = content[stops].astype(np.int64) << (7 * (lengths - 1))
    for place in range(2):
        longer = lengths > place + 1
        values[longer] += (content[starts[longer] + place].astype(np.int64) & 127) << (7 * place)
    return values, int(stops[-1]) + 1
