"""Which codes of a larger codebook the codes of a store stand for: finding such a table, and rebuilding one.

The authors of SeiT went from the 8,192 codes of their tokenizer to the 391 that occur. `codes_in_use` finds such a
table, `subset_store` and `restore_store` apply it, `match_rows` rebuilds it where only the two codebooks are left.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seitpp.storage.codecs import check_codebook_size
from seitpp.storage.header import Progress
from seitpp.storage.tokenizer_entry import known_distance

if TYPE_CHECKING:
    from seitpp.storage.source import TokenSource

_MATCH_ROWS = 512
_DISTANCES = ("cosine", "euclidean")


@dataclass(frozen=True, eq=False)
class CodeTable:
    """Code i of a store is code `codes[i]` of a codebook with `codebook_size` rows; `codes` (K',) are kept as int32.

    Codes that are no such table are a `ValueError`, which names duplicates with their positions.
    """

    codes: np.ndarray
    codebook_size: int

    def __post_init__(self) -> None:
        check_codebook_size(self.codebook_size)
        object.__setattr__(self, "codes", check_table(self.codes, self.codebook_size))


def check_table(table: Any, codebook_size: int) -> np.ndarray:
    """Return the table as int32 (K',), or `ValueError` if it is not a list of different codes in [0, codebook_size)."""
    codes = np.asarray(table)
    if codes.ndim != 1 or not len(codes) or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"code table is {codes.dtype} of shape {codes.shape}, expected integers (K',), at least one")
    if (wrong := np.flatnonzero((codes < 0) | (codes >= codebook_size))).size:
        raise ValueError(
            f"code table: entry {wrong[0]} is code {codes[wrong[0]]}, expected codes in [0, {codebook_size})"
        )
    order = np.argsort(codes, kind="stable")
    if (same := np.flatnonzero(codes[order][1:] == codes[order][:-1])).size:
        first, second = order[same[0]], order[same[0] + 1]
        raise ValueError(f"code table: entries {first} and {second} are both code {codes[first]}, expected each once")
    return codes.astype(np.int32)


def codes_in_use(source: "TokenSource", min_count: int = 1, progress: Progress | None = None) -> np.ndarray:
    """Return the codes (K',), int32, that occur at least `min_count` times, the most frequent first, then the lower.

    Samples that are no plain codes are a `ValueError`, as is a table without codes.
    """
    check_plain(source)
    if min_count < 1:
        raise ValueError(f"min_count is {min_count}, expected at least 1")
    counts, done = np.zeros(source.codebook_size, np.int64), 0
    for batch in source.iter_batches():
        counts += np.bincount(batch.ravel(), minlength=source.codebook_size)
        done += len(batch)
        if progress is not None:
            progress(done, len(source))
    order = np.argsort(-counts, kind="stable")
    table = order[counts[order] >= min_count]
    if not len(table):
        raise ValueError(f"no code occurs {min_count} times, the most frequent one occurs {counts.max()} times")
    return table.astype(np.int32)


def match_rows(subset_codebook: np.ndarray, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the rows of a codebook (K, D) that the rows of a smaller one (K', D) are.

    Returns:
        For each row of the subset its code in the codebook (K',), int32; whether all its values are equal (K',); and
        the cosine of the two (K',), float64. Without an equal row it is the one with the highest cosine, the lower one
        of several. Two rows that lead to the same code are a `ValueError`.
    """
    subset, full = np.ascontiguousarray(subset_codebook, np.float32), np.ascontiguousarray(codebook, np.float32)
    if subset.ndim != 2 or full.ndim != 2 or subset.shape[1] != full.shape[1] or len(subset) > len(full):
        raise ValueError(
            f"codebooks have the shapes {subset.shape} and {full.shape}, expected (K', D) and (K, D) with K' <= K"
        )
    by_value = {row.tobytes(): code for code, row in reversed(list(enumerate(full + 0.0)))}  # + 0.0: no negative zeros
    found = [by_value.get(row.tobytes(), -1) for row in subset + 0.0]
    table, exact = np.array(found, np.int64), np.array(found) >= 0
    directions, units = _unit_rows(full), _unit_rows(subset)
    for start in range(0, len(subset), _MATCH_ROWS):
        rows = start + np.flatnonzero(~exact[start : start + _MATCH_ROWS])
        table[rows] = np.argmax(units[rows] @ directions.T, axis=1)
    try:
        checked = check_table(table, len(full))
    except ValueError as error:
        raise ValueError(f"{error}: two rows of the subset lead to the same row of the codebook") from error
    return checked, exact, (units * directions[table]).sum(axis=1)


def nearest_lookup(codebook: np.ndarray, table: np.ndarray, distance: str) -> np.ndarray:
    """Return the new code (K,) of each: its own number in the table, or that of the nearest row, ties to the lower.

    `codebook` has vectors (K, D), `table` the codes that are kept (K',).
    """
    if distance not in _DISTANCES:
        raise ValueError(f"distance is {distance!r}, expected cosine or euclidean")
    rows = _unit_rows(codebook) if distance == "cosine" else codebook.astype(np.float64)
    kept = rows[table]
    half_norms = (kept**2).sum(axis=1) / 2  # of unit rows all alike
    lookup = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _MATCH_ROWS):
        chunk = rows[start : start + _MATCH_ROWS]
        lookup[start : start + _MATCH_ROWS] = np.argmax(chunk @ kept.T - half_norms, axis=1)
    lookup[table] = np.arange(len(table))  # also where two rows are equal
    return lookup


def tokenizer_distance(tokenizer: dict[str, Any], path: str | Path) -> str:
    """Return the distance by which a tokenizer, as the header of the store `path` describes it, finds the nearest code.

    If it states none that is a `ValueError`: a name does not tell by which distance codes were assigned.
    """
    stated = known_distance(tokenizer)
    if stated not in _DISTANCES:
        found = {key: tokenizer[key] for key in ("name", "type", "distance") if key in tokenizer}
        raise ValueError(
            f"{path}: its header describes the tokenizer as {found}, which does not say by which distance its codes "
            "were assigned; pass distance='cosine' or 'euclidean' (--distance {cosine,euclidean}). The codes of SeiT's "
            "release are cosine"
        )
    return stated


def check_plain(source: "TokenSource") -> None:
    """Raise `ValueError` unless the samples are codes (H, W) of a codebook."""
    if source.channels is not None or source.minimum:
        raise ValueError(
            f"samples have shape {source.sample_shape} and values from {source.minimum}; only plain codes (H, W) from "
            "0 index a codebook that can be cut down"
        )


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return rows (n, D) divided by their lengths, float64; rows of zeros stay."""
    rows = vectors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)
