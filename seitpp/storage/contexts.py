"""Fitting an entropy model to the samples of a shard: which neighbours share a table, and how many tables pay.

Codes are grouped by how similar the codes beside them are distributed: a neighbour joins the group whose table codes
what follows it in the fewest bits, as in k-means with the Kullback-Leibler divergence (Banerjee et al., 2005). The
number of groups is the one with the fewest bytes in all, tables included. Logarithms are fixed-point integers, sums are
exact, so the same samples give the same tables on every machine.
"""

from collections.abc import Iterator

import numpy as np

from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.entropy_model import (
    MAX_SCALE_BITS,
    MAX_SLOTS,
    MIN_SCALE_BITS,
    ChannelModel,
    EntropyModel,
    neighbours,
    pack_numbers,
    quantise,
)

MAX_GROUPED_CODES = 1024
"""The most frequent codes are grouped one by one, the others together."""

_GROUPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_ITERATIONS = 6
_CHOICE_CODES = 2**23  # codes of all channels that groups are chosen on; their tables are fitted to all codes
_LOG_BITS = 12


def fit_model(codes: np.ndarray, codebook_size: int, *, with_contexts: bool) -> EntropyModel:
    """The model for the samples of a shard.

    Args:
        codes: Codes (n, H, W, C).
        codebook_size: Number of codes K.
        with_contexts: Choose tables by the neighbours; otherwise one table for each channel.
    """
    planes = [codes[..., channel] for channel in range(codes.shape[-1])]
    counts = [_count(plane, codebook_size) for plane in planes]
    most_used = max(int((count > 0).sum()) for count in counts)
    scale_bits = _scale_bits(most_used, len(planes), with_contexts)
    if with_contexts:
        most_contexts = max(1, (MAX_SLOTS >> scale_bits) // len(planes))
        stride = -(-codes.size // _CHOICE_CODES)
        groups = [
            _choose_groups(plane[::stride], len(plane), count, scale_bits, most_contexts)
            for plane, count in zip(planes, counts, strict=True)
        ]
    else:
        groups = [_no_groups(codebook_size)] * len(planes)
    models = [
        _channel_model(plane, *pair, codebook_size, scale_bits)[0] for plane, pair in zip(planes, groups, strict=True)
    ]
    return EntropyModel(scale_bits, tuple(models))


def _scale_bits(most_used: int, num_channels: int, with_contexts: bool) -> int:
    """Bits of the sum of frequencies, for at most `most_used` different codes in a channel.

    With many tables each is peaked and must be small; a single one is better fine, for its many rare codes.
    """
    needed = max(MIN_SCALE_BITS, (most_used - 1).bit_length())
    wanted = min(MAX_SCALE_BITS, max(needed, (most_used - 1).bit_length() + (3 if with_contexts else 5)))
    return max(needed, min(wanted, (MAX_SLOTS // num_channels).bit_length() - 1))


def _count(plane: np.ndarray, codebook_size: int) -> np.ndarray:
    """Occurrences (K,) of each code; in parts, as counting takes eight bytes a code."""
    counts = (np.bincount(chunk.ravel(), minlength=codebook_size) for chunk in _chunks(plane))
    return sum(counts, np.zeros(codebook_size, np.int64))


def _chunks(plane: np.ndarray) -> Iterator[np.ndarray]:
    """The samples of a channel (n, H, W), as many at a time as are counted together."""
    step = samples_at_a_time(plane[0].size)
    return (plane[start : start + step] for start in range(0, len(plane), step))


def _no_groups(codebook_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps (K + 1,) of both neighbours to a single group."""
    return np.zeros(codebook_size + 1, np.uint8), np.zeros(codebook_size + 1, np.uint8)


def _choose_groups(
    sample: np.ndarray, num_samples: int, counts: np.ndarray, scale_bits: int, most_contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups (K + 1,) of left and upper neighbours with the fewest bytes for one channel.

    They are found on some of its samples, (m, H, W) of `num_samples`, and the counts of its codes (K,) in all samples.
    From one group each, more are given to the side, or to both sides, where they save the most, as long as they do.
    """
    share = num_samples / len(sample)
    left_pairs, upper_pairs, alphabet = _pair_counts(sample, counts)
    left_seeds, upper_seeds = (_seeds(pairs, max(_GROUPS)) for pairs in (left_pairs, upper_pairs))

    def maps(left: int, upper: int) -> tuple[np.ndarray, np.ndarray]:
        return (
            _group(left_pairs, left_seeds[: _GROUPS[left]])[alphabet],
            _group(upper_pairs, upper_seeds[: _GROUPS[upper]])[alphabet],
        )

    def cost(left: int, upper: int) -> float:
        if max(left, upper) == len(_GROUPS) or _GROUPS[left] * _GROUPS[upper] > most_contexts:
            return np.inf
        model, joint = _channel_model(sample, *maps(left, upper), len(counts), scale_bits)
        return _cost_bits(model, joint, scale_bits, share)

    best, best_cost = (0, 0), cost(0, 0)
    while True:
        left, upper = best
        costs = {place: cost(*place) for place in ((left + 1, upper), (left, upper + 1), (left + 1, upper + 1))}
        place = min(costs, key=costs.__getitem__)
        if costs[place] >= best_cost:
            return maps(*best)
        best, best_cost = place, costs[place]


def _channel_model(
    plane: np.ndarray, left: np.ndarray, upper: np.ndarray, codebook_size: int, scale_bits: int
) -> tuple[ChannelModel, np.ndarray]:
    """The model of one channel (n, H, W) with given groups, and how often each code occurs, (contexts * K,)."""
    shape = (int(left.max()) + 1, int(upper.max()) + 1, codebook_size)
    joint = np.zeros(shape[0] * shape[1] * codebook_size, np.int64)
    for chunk in _chunks(plane):
        before, above = neighbours(chunk, codebook_size)
        contexts = left.astype(np.int64)[before] * shape[1] + upper[above]
        joint += np.bincount((contexts * codebook_size + chunk).ravel(), minlength=len(joint))
    freqs = quantise(joint.reshape(-1, codebook_size), scale_bits).reshape(shape)
    return ChannelModel(left, upper, freqs), joint


def _cost_bits(model: ChannelModel, counts: np.ndarray, scale_bits: int, share: float) -> float:
    """Bits, times 2 ** _LOG_BITS, of `share` times the codes counted in `counts` (contexts * K,), and of the tables."""
    used = counts > 0
    lengths = (scale_bits << _LOG_BITS) - log2_fixed(model.flat_freqs[used])
    maps = model.left_groups.tobytes() + model.upper_groups.tobytes()
    table_bytes = np.bincount(np.frombuffer(maps + pack_numbers(model.flat_freqs), np.uint8))
    return float((counts[used] * lengths).sum()) * share + float(_total_bits(table_bytes[table_bytes > 0]))


def _total_bits(counts: np.ndarray) -> int:
    """Bits, times 2 ** _LOG_BITS, of symbols that occur `counts` times, at their entropy.

    For tables it is close to what zlib makes of them, and does not depend on the zlib in use.
    """
    return int((counts * (log2_fixed(counts.sum()) - log2_fixed(counts))).sum())


def _pair_counts(plane: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often a code stands beside another one.

    Returns:
        Occurrences (A + 1, A) of a code (second axis) right of a left neighbour (first axis), and the same below an
        upper neighbour, and the row of each neighbour (K + 1,); rows are those of the most frequent codes, one for all
        others, and last no neighbour.
    """
    order = np.argsort(-counts, kind="stable")[:MAX_GROUPED_CODES]
    order = order[counts[order] > 0]
    size = len(order) + 1  # A
    alphabet = np.full(len(counts) + 1, size - 1)
    alphabet[order] = np.arange(len(order))
    alphabet[-1] = size
    pairs = np.zeros((2, (size + 1) * size), np.int64)
    for chunk in _chunks(plane):
        for total, beside in zip(pairs, neighbours(chunk, len(counts)), strict=True):
            total += np.bincount((alphabet[beside] * size + alphabet[chunk]).ravel(), minlength=len(total))
    left, upper = pairs.reshape(2, size + 1, size)
    return left, upper, alphabet


def _seeds(pairs: np.ndarray, most: int) -> np.ndarray:
    """Rows of `pairs` (R, A) to start groups from: each time the one that the seeds so far code with the most loss."""
    everything = _lengths(pairs.sum(axis=0)[None])
    own = np.zeros(len(pairs))
    for start in range(0, len(pairs), 64):  # the cost of each row under its own distribution
        rows = pairs[start : start + 64]
        own[start : start + 64] = (rows * _lengths(rows)).sum(axis=1)
    cost = pairs.astype(np.float64) @ everything[0]
    seeds: list[int] = []
    while len(seeds) < min(most, len(pairs)):
        seeds.append(int(np.argmax(cost - own)))
        cost = np.minimum(cost, pairs.astype(np.float64) @ _lengths(pairs[seeds[-1]][None])[0])
        own[seeds[-1]] = np.inf
    return np.array(seeds)


def _group(pairs: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Group of each row of `pairs` (R, A), uint8, after some rounds of assigning rows and adding up their groups."""
    tables, weights = pairs[seeds], pairs.astype(np.float64)
    groups = np.zeros(len(pairs), np.uint8)
    for _ in range(_ITERATIONS):
        # Integers below 2^53 in float64: exact in any order of summation, and a product of matrices is fast.
        groups = np.argmin(weights @ _lengths(tables).T, axis=1).astype(np.uint8)
        tables = np.stack([pairs[groups == group].sum(axis=0) for group in range(len(seeds))])
    return groups


def _lengths(tables: np.ndarray) -> np.ndarray:
    """Code lengths (R, A) under counts (R, A), in bits times 2 ** _LOG_BITS, integers as float64.

    A sixteenth is added to every count: a code that was not seen is possible, but dear.
    """
    smoothed = 16 * tables.astype(np.int64) + 1
    return (log2_fixed(smoothed.sum(axis=1))[:, None] - log2_fixed(smoothed)).astype(np.float64)


def log2_fixed(numbers: np.ndarray) -> np.ndarray:
    """log2 of positive integers, times 2 ** _LOG_BITS, rounded down; int64.

    Within 0.01 bits, from exact operations alone (frexp and products), where `np.log2` may differ between machines.
    """
    mantissas, exponents = np.frexp(np.asarray(numbers, np.float64))  # numbers = mantissas * 2 ** exponents
    beyond = 2 * mantissas - 1  # in [0, 1)
    fraction = beyond + 0.34375 * (beyond * (1 - beyond))
    return ((exponents - 1 + fraction) * (1 << _LOG_BITS)).astype(np.int64)
