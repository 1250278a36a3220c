"""A store on the codes in use: renumbering to a subset of the codebook, and back.

The authors of SeiT went from the 8,192 codes of their tokenizer to the 391 that occur. `codes_in_use` finds such a
table, `subset_store` and `restore_store` apply it, `match_rows` rebuilds it where only the two codebooks are left.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.numbering import CodeTable, check_table
from seitpp.storage.reader import StoreReader
from seitpp.storage.source import TokenSource
from seitpp.storage.tokenizer_entry import known_distance
from seitpp.storage.writer import DEFAULT_SHARD_BYTES, StoreWriter, copy_samples

_MATCH_ROWS = 512
_DISTANCES = ("cosine", "euclidean")


def codes_in_use(source: TokenSource, min_count: int = 1, progress: store_format.Progress | None = None) -> np.ndarray:
    """The codes that occur at least `min_count` times.

    Args:
        source: A store or a release of plain codes.
        min_count: Occurrences that a code needs, at least 1.
        progress: Called with samples done and their total.

    Returns:
        Codes (K',), int32, the most frequent first, of equally frequent ones the lower first.

    Raises:
        ValueError: The samples are no plain codes, or no code occurs so often.
    """
    _check_plain(source)
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


def subset_store(
    reader: StoreReader,
    path: str | Path,
    table: np.ndarray,
    *,
    nearest: bool = False,
    distance: str | None = None,
    codec: str = "bitpacked",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: store_format.Progress | None = None,
) -> None:
    """Write a store whose code i is code `table[i]` of another one; the table is kept beside it.

    Codebook and synonyms are cut down with the codes. If the store is a subset itself, the kept table leads to the
    codes of the original all the same.

    Args:
        reader: The store to read, of plain codes.
        path: Folder of the new store.
        table: Codes to keep (K',), each once.
        nearest: Replace codes outside the table by the nearest row among the kept ones; otherwise they are an error.
        distance: `cosine` or `euclidean`, for `nearest`; by default that which the header states.
        codec: Codec of the new store.
        shard_bytes: Size that a new shard should not exceed.
        resume: Continue an interrupted subset of the same store.
        progress: Called with the number of samples done and their total.

    Raises:
        FileExistsError: `path` is not empty, and `resume` is not set.
        ValueError: The table is no table of this store, a code lies outside it, or `nearest` lacks a codebook or a
            distance.
    """
    _check_plain(reader)
    table = check_table(table, reader.codebook_size)
    source: dict[str, Any] = {**reader.header["source"], "copied_from": reader.content_hash}
    if nearest:
        if reader.codebook is None:
            raise ValueError(f"{reader.path} has no codebook, so no code is near another one; leave out nearest")
        distance = distance or tokenizer_distance(reader.header["tokenizer"], reader.path)
        source["codes_replaced_by"] = {"nearest": distance}
        lookup = nearest_lookup(reader.codebook, table, distance)
    else:
        lookup = np.full(reader.codebook_size, -1, np.int64)
        lookup[table] = np.arange(len(table))

    def renumber(tokens: np.ndarray, first_sample: int) -> np.ndarray:
        codes = lookup[tokens]
        if codes.size and codes.min() < 0:
            sample, row, column = np.argwhere(codes < 0)[0]
            raise ValueError(
                f"{reader.path}: sample {first_sample + sample} holds code {tokens[sample, row, column]} at row {row}, "
                f"column {column}, which is not in the table; make a table of all codes in use, or pass nearest=True "
                "(--nearest)"
            )
        return codes

    outer = reader.code_table
    original = CodeTable(table, reader.codebook_size)
    if outer is not None:
        original = CodeTable(outer.codes[table], outer.codebook_size)
    _write(
        reader,
        path,
        renumber,
        source,
        codebook_size=len(table),
        codebook=None if reader.codebook is None else reader.codebook[table],
        synonyms=_renumbered_synonyms(reader.synonyms, {int(code): new for new, code in enumerate(table)}),
        code_table=original,
        codec=codec,
        shard_bytes=shard_bytes,
        resume=resume,
        progress=progress,
    )


def restore_store(
    reader: StoreReader,
    path: str | Path,
    codebook: np.ndarray | None = None,
    *,
    codec: str = "bitpacked",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: store_format.Progress | None = None,
) -> None:
    """Write a subset of `subset_store` with the original numbers of its codes.

    Args:
        reader: A store with a code table.
        path: Folder of the new store.
        codebook: All original code vectors (K, D); without them the new store has no codebook.
        codec: Codec of the new store.
        shard_bytes: Size that a new shard should not exceed.
        resume: Continue an interrupted restoration of the same store.
        progress: Called with the number of samples done and their total.

    Raises:
        FileExistsError: `path` is not empty, and `resume` is not set.
        ValueError: The store has no code table, or the codebook is not the one that its rows were taken from.
    """
    table = reader.code_table
    if table is None:
        raise ValueError(f"{reader.path} has no code table, its codes are not numbers of a larger codebook")
    if codebook is not None:
        _check_codebook(reader, table, codebook)
    _write(
        reader,
        path,
        lambda tokens, _: table.codes[tokens],
        {**reader.header["source"], "copied_from": reader.content_hash},
        codebook_size=table.codebook_size,
        codebook=codebook,
        synonyms=_renumbered_synonyms(reader.synonyms, dict(enumerate(table.codes.tolist()))),
        codec=codec,
        shard_bytes=shard_bytes,
        resume=resume,
        progress=progress,
    )


def match_rows(subset_codebook: np.ndarray, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the rows of a codebook that the rows of a smaller one are.

    Args:
        subset_codebook: Vectors (K', D).
        codebook: Vectors (K, D).

    Returns:
        For each row of the subset its code in the codebook (K',), int32; whether all its values are equal (K',); and
        the cosine of the two (K',), float64. Without an equal row it is the one with the highest cosine, the lower one
        of several.

    Raises:
        ValueError: The shapes do not belong together, or two rows of the subset lead to the same code.
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
    """New code (K,) of every code: its own place in the table (K',), or that of the nearest row, ties to the lower.

    Args:
        codebook: Vectors (K, D).
        table: Codes that are kept (K',).
        distance: `cosine` or `euclidean`.
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
    """The distance by which a tokenizer, as a header describes it, finds the nearest code.

    Args:
        tokenizer: Facts of a header, with `distance` or a `type` that has one distance only.
        path: The store, for messages.

    Raises:
        ValueError: They state neither; a name does not tell by which distance codes were assigned.
    """
    stated = known_distance(tokenizer)
    if stated not in _DISTANCES:
        facts = {key: tokenizer[key] for key in ("name", "type", "distance") if key in tokenizer}
        raise ValueError(
            f"{path}: its header describes the tokenizer as {facts}, which does not say by which distance its codes "
            "were assigned; pass distance='cosine' or 'euclidean' (--distance {cosine,euclidean}). The codes of SeiT's "
            "release are cosine"
        )
    return stated


def _write(
    reader: StoreReader,
    path: str | Path,
    change: Callable[[np.ndarray, int], np.ndarray],
    source: dict[str, Any],
    *,
    progress: store_format.Progress | None,
    **options: Any,
) -> None:
    """Write the samples of a store, each changed, with its labels, tokenizer and classes."""
    labels = reader.header["labels"]
    with StoreWriter(
        path,
        grid=reader.grid,
        tokenizer=reader.header["tokenizer"],
        label_kind=labels["kind"],
        label_dtype=labels["dtype"],
        classes=reader.classes,
        source=source,
        **options,
    ) as writer:
        copy_samples(reader, writer, change, progress)


def _check_plain(source: TokenSource) -> None:
    if source.channels is not None or source.minimum:
        raise ValueError(
            f"samples have shape {source.sample_shape} and values from {source.minimum}; only plain codes (H, W) from "
            "0 index a codebook that can be cut down"
        )


def _check_codebook(reader: StoreReader, table: CodeTable, codebook: np.ndarray) -> None:
    """Raise `ValueError` unless the rows of the store are those of the codebook."""
    if codebook.ndim != 2 or len(codebook) != table.codebook_size:
        raise ValueError(
            f"the codebook has shape {codebook.shape}, expected ({table.codebook_size}, D): {reader.path} was taken "
            f"from {table.codebook_size} codes"
        )
    if reader.codebook is None:
        return
    taken = codebook[table.codes].astype(np.float32)
    if taken.shape != reader.codebook.shape or (wrong := np.flatnonzero((taken != reader.codebook).any(axis=1))).size:
        where = "" if taken.shape != reader.codebook.shape else f", first in code {table.codes[wrong[0]]}"
        raise ValueError(f"the codebook is not the one that {reader.path} was taken from: its rows differ{where}")


def _renumbered_synonyms(synonyms: dict[int, list[int]] | None, numbers: dict[int, int]) -> dict[int, list[int]] | None:
    """Synonyms with the new numbers of their codes, without codes that have none."""
    if synonyms is None:
        return None
    return {
        numbers[code]: [numbers[other] for other in similar if other in numbers]
        for code, similar in synonyms.items()
        if code in numbers
    }


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows (n, D) divided by their lengths, float64; rows of zeros stay."""
    rows = vectors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)
