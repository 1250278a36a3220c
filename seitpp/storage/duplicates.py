"""Equal and nearly equal samples of a store, or of two stores, by the number of positions at which tokens differ.

Equal samples are found by a hash of their tokens, similar ones by bands (`seitpp.storage.bands`): what agrees on a
random subset of positions is compared, first by sketches in memory, then by all tokens. Time and memory grow with the
number of samples, not of pairs: of a crowd of similar samples each is compared with some, and they become one group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seitpp.storage.bands import BandKeys, Bands, Sketches, choose_bands
from seitpp.storage.header import Progress
from seitpp.storage.joined_samples import JoinedSamples, content_numbers, first_equal_rows
from seitpp.storage.source import TokenSource

_ALL_PAIRS = 4096  # different samples up to which every pair is compared
_MOST_OTHERS = 32  # samples of a bucket that each is compared with
_MOST_COMPARED_GROUP = 32  # samples of a group, beyond which those already in it are not compared with each other
_TRIED, _TRIED_POSITIONS = 2**16, 128  # samples, and positions of theirs, on which the size of bands is tried
_KEY_BYTES = 2**28  # of the keys of bands that are held at a time
_SKETCHED_PAIRS = 2**18  # that are compared at a time


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What `find_duplicates` found; samples of a second store are numbered on from those of the first.

    Attributes:
        num_samples: Of each store.
        num_positions: Positions of a grid, T.
        max_distance: Positions at which near-duplicates may differ.
        nearest: For each sample the nearest that was found (N,), int64; -1 if none. With two stores, of the other.
        distance: Positions at which it differs, (N,), int64; T + 1 if there is none.
        group: Smallest number in each sample's group (N,), int64: what is connected by pairs within the distance.
        bands: How similar samples were brought together; None where all pairs were compared.
        crowded: Share of samples, over the bands, that had more similar ones beside them than were compared.
    """

    num_samples: tuple[int, ...]
    num_positions: int
    max_distance: int
    nearest: np.ndarray
    distance: np.ndarray
    group: np.ndarray
    bands: Bands | None
    crowded: float

    def recall(self, distance: int) -> float:
        """Return the probability that two samples at this distance were compared, if neither is in a crowd."""
        return 1.0 if self.bands is None or distance == 0 else self.bands.recall(distance)

    def pairs(self) -> np.ndarray:
        """Return each sample that has one with its nearest, each pair once: (P, 3) of both numbers and the distance.

        The smaller number, or that of the first store, stands first. The nearest pairs come first.
        """
        found = np.flatnonzero(self.nearest >= 0)
        partner = self.nearest[found]
        rows = np.stack([self.distance[found], np.minimum(found, partner), np.maximum(found, partner)], axis=1)
        return np.unique(rows, axis=0)[:, [1, 2, 0]]

    def num_within(self, distance: int) -> int:
        """Count the samples, of the last store, whose nearest differs at no more positions than this."""
        return int((self.distance[-self.num_samples[-1] :] <= distance).sum())

    def groups(self) -> list[np.ndarray]:
        """Return the numbers of the samples of each group of several, the largest group first."""
        order = np.argsort(self.group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.group[order])) + 1)
        return sorted((part for part in parts if len(part) > 1), key=len, reverse=True)


def find_duplicates(
    source: TokenSource,
    other: TokenSource | None = None,
    max_share: float = 0.25,
    recall: float = 0.95,
    progress: Progress | None = None,
    seed: int = 0,
) -> Duplicates:
    """Find equal and similar samples within a store, or between two stores of the same tokenizer.

    Up to 4,096 different samples, all pairs are compared. Beyond, pairs at the distance are found with the probability
    `recall`, closer ones more surely (`Duplicates.recall`), equal ones always.

    Args:
        source: The samples, or those of the first store.
        other: A second store, such as the validation data: pairs are then one sample of each, leaks.
        max_share: Share of the positions of a grid at which near-duplicates may differ, in [0, 1).
        recall: Probability, in (0, 1), with which a pair at this distance is found.
        progress: Called with work done and its total.
        seed: Of the positions that are drawn.

    Raises:
        ValueError: The stores differ in grid, codes or codebook, or an option is out of its range.
    """
    if not 0 <= max_share < 1 or not 0 < recall < 1:
        raise ValueError(f"max_share is {max_share} and recall {recall}, expected [0, 1) and (0, 1)")
    samples, rng = JoinedSamples([source] if other is None else [source, other]), np.random.default_rng(seed)
    max_distance = int(max_share * samples.num_positions + 1e-9)
    work = _Work(progress, len(samples))
    same = content_numbers(samples, work.add)
    first = first_equal_rows(np.column_stack([same, samples.is_second(np.arange(len(samples)))]))
    kept = np.unique(first)
    bands = None
    if len(kept) > _ALL_PAIRS:
        tried = np.sort(rng.choice(kept, min(len(kept), _TRIED), replace=False))
        some = rng.permutation(samples.num_positions)[:_TRIED_POSITIONS]
        tokens = np.concatenate([tokens[:, some] for tokens, _ in samples.batches(tried)])
        bands = choose_bands(tokens, samples.num_positions, len(kept), max_distance, recall, _MOST_OTHERS, rng)
    search = _Search(samples, kept, max_distance)
    if other is not None:
        search.take_equal(same[kept])
    search.run(bands, rng, work)
    work.finish()
    return _with_equal_ones(samples, first, kept, search, bands)


class _Work:
    """Counts the work done: the samples hashed, once and for the bands, and an eighth of them for each band."""

    def __init__(self, progress: Progress | None, num_samples: int) -> None:
        self.progress, self.done, self.total = progress, 0, 3 * num_samples

    def add(self, amount: int) -> None:
        self.done += amount
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)

    def finish(self) -> None:
        self.add(max(0, self.total - self.done))


class _Search:
    """Looks for similar ones among different samples; here they are numbered 0 to R - 1."""

    def __init__(self, samples: JoinedSamples, kept: np.ndarray, max_distance: int) -> None:
        self.samples, self.kept, self.max_distance = samples, kept, max_distance
        self.second = samples.is_second(kept)
        self.nearest = np.full(len(kept), -1)
        self.distance = np.full(len(kept), samples.num_positions + 1)
        self.root = np.arange(len(kept))  # of each one's group
        self.size = np.ones(len(kept), np.int64)  # of the group with this root
        self.crowded = 0.0

    def take_equal(self, content: np.ndarray) -> None:
        """Take samples of the two stores that have the same number of their content for pairs at distance 0."""
        first = first_equal_rows(np.column_stack([content, content]))
        again = np.flatnonzero(first != np.arange(len(first)))
        self._take(first[again], again, np.zeros(len(again), np.int64))

    def run(self, bands: Bands | None, rng: np.random.Generator, work: _Work) -> None:
        """Compare what agrees on a band; without bands, all."""
        total = len(self.kept)
        self.sketches = Sketches(total, self.samples.num_positions, self.max_distance, rng)
        keys_of = None if bands is None else BandKeys(bands, rng)
        at_a_time = 1 if bands is None else max(1, min(bands.count, _KEY_BYTES // (8 * total)))
        count = 1 if bands is None else bands.count
        work.total = len(self.samples) + -(-count // at_a_time) * total + count * total // 8
        for start in range(0, count, at_a_time):
            which = range(start, min(start + at_a_time, count))
            keys, done = np.zeros((len(which), total), np.uint64), 0
            for tokens, _ in self.samples.batches(self.kept):
                rows = slice(done, done + len(tokens))
                if start == 0:
                    self.sketches.set(rows, tokens)
                if keys_of is not None:
                    for own, found in zip(keys, keys_of(tokens, which), strict=True):
                        own[rows] = found
                done += len(tokens)
                work.add(len(tokens))
            for own in keys:
                self._compare_buckets(own, total if bands is None else _MOST_OTHERS)
                work.add(total // 8)
        self.crowded /= count

    def _compare_buckets(self, keys: np.ndarray, most_others: int) -> None:
        """Compare samples with those behind them in the order of the keys, in the same bucket, at most so many."""
        order = np.argsort(keys)
        buckets = keys[order] >> np.uint64(32)
        for offset in range(1, most_others + 1):
            same = np.flatnonzero(buckets[offset:] == buckets[:-offset])
            if not len(same):
                return
            first, second = order[same], order[same + offset]
            if len(self.samples.sources) == 2:
                between = self.second[first] != self.second[second]
                first, second = first[between], second[between]
            self._compare(first, second)
        _, which, counts = np.unique(buckets, return_inverse=True, return_counts=True)
        self.crowded += float((counts[which] - 1 > most_others).mean())

    def _compare(self, first: np.ndarray, second: np.ndarray) -> None:
        kept = [np.zeros(0, np.int64)]
        for start in range(0, len(first), _SKETCHED_PAIRS):
            piece = slice(start, start + _SKETCHED_PAIRS)
            kept.append(start + np.flatnonzero(self.sketches.may_be_near(first[piece], second[piece])))
        chosen = np.concatenate(kept)
        first, second = first[chosen], second[chosen]
        roots = self.root[first]
        asked = (roots != self.root[second]) | (self.size[roots] <= _MOST_COMPARED_GROUP)
        first, second = first[asked], second[asked]
        distances = self.samples.distance(self.kept[first], self.kept[second])
        near = distances <= self.max_distance
        self._take(first[near], second[near], distances[near])

    def _take(self, first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> None:
        """Keep of pairs what is nearer than was known before, and join their groups."""
        numbers, partners = np.concatenate([first, second]), np.concatenate([second, first])
        distances = np.tile(distances, 2)
        order = np.lexsort((partners, distances, numbers))
        order = order[np.diff(numbers[order], prepend=-1) > 0]  # of each its nearest
        order = order[distances[order] < self.distance[numbers[order]]]
        self.nearest[numbers[order]], self.distance[numbers[order]] = partners[order], distances[order]
        self._join(first, second)

    def _join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Make one group of the groups of each pair: each root leads to a smaller one, then all to the smallest."""
        changed = False
        while len(apart := np.flatnonzero(self.root[first] != self.root[second])):
            first, second, changed = first[apart], second[apart], True
            one, two = self.root[first], self.root[second]
            np.minimum.at(self.root, np.maximum(one, two), np.minimum(one, two))
            while ((shorter := self.root[self.root]) != self.root).any():
                self.root = shorter
        if changed:
            self.size = np.bincount(self.root, minlength=len(self.root))


def _with_equal_ones(
    samples: JoinedSamples, first: np.ndarray, kept: np.ndarray, search: _Search, bands: Bands | None
) -> Duplicates:
    """Give each sample what was found for the first one with the same tokens, and equal samples each other."""
    row = np.searchsorted(kept, first)
    nearest = np.where(search.nearest >= 0, kept[search.nearest], -1)[row]
    distance, group = search.distance[row], kept[search.root][row]
    if len(samples.sources) == 1:
        again = np.flatnonzero(first != np.arange(len(first)))
        nearest[again], distance[again] = first[again], 0
        nearest[first[again[::-1]]], distance[first[again]] = again[::-1], 0  # the first is nearest to the next one
    sizes = tuple(len(source) for source in samples.sources)
    return Duplicates(
        sizes, samples.num_positions, search.max_distance, nearest, distance, group, bands, search.crowded
    )


def describe_found(found: Duplicates, distances: Sequence[int]) -> dict[str, Any]:
    """Return numbers for a program to read: counts and recall at distances, groups, and pairs of nearest samples.

    With two stores, samples have their numbers in their own store, and there are no groups.
    """
    pairs = found.pairs()
    if between := len(found.num_samples) == 2:
        pairs[:, 1] -= found.num_samples[0]
    entries = {
        "num_samples": list(found.num_samples),
        "num_positions": found.num_positions,
        "max_distance": found.max_distance,
        "num_within": {str(distance): found.num_within(distance) for distance in distances},
        "recall": {str(distance): found.recall(distance) for distance in distances},
        "crowded": found.crowded,
        "bands": None if found.bands is None else {"size": found.bands.size, "count": found.bands.count},
        "pairs": pairs.tolist(),
    }
    return entries if between else {**entries, "groups": [group.tolist() for group in found.groups()]}
