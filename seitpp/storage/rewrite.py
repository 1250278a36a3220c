"""Making a store from another one: a copy, a subset of its codes or classes, or its original codes again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.atomic_write import write_whole
from seitpp.storage.code_table import CodeTable, check_plain, check_table, nearest_lookup, tokenizer_distance
from seitpp.storage.header import Progress
from seitpp.storage.label_files import label_file
from seitpp.storage.reader import StoreReader
from seitpp.storage.settings import DEFAULT_SHARD_BYTES, StoreSettings
from seitpp.storage.source import TokenSource
from seitpp.storage.stats import class_names_hash
from seitpp.storage.writer import StoreWriter


def rewrite_store(
    source: TokenSource,
    path: str | Path,
    settings: StoreSettings,
    *,
    indices: Sequence[int] | None = None,
    labels: np.ndarray | None = None,
    change: Callable[[np.ndarray, int], np.ndarray] | None = None,
    at_end: Callable[[StoreWriter], None] | None = None,
    codec: str = "bitpacked",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write samples of a store or release into a new store, with their labels and label maps.

    Each shard that is read is compared with its hash first: a copy would give damaged codes new checksums.

    Args:
        settings: What the new store is, but for `codec` and `shard_bytes`.
        indices: Samples to write, ascending; by default all.
        labels: Their classes; by default those that they have.
        change: Applied to tokens (n, *sample_shape) and the number of the first of these samples.
        at_end: Called with the writer before the store is declared complete.
        codec: Codec of the new store.
        shard_bytes: Size that a new shard should not exceed.
        resume: Continue an interrupted run of the same call.

    Raises:
        FileExistsError: `path` is not empty, and `resume` is not set.
        ValueError: A shard is damaged, or the store in `path` was begun with other settings or from another source.
    """
    settings = replace(settings, codec=codec, shard_bytes=shard_bytes, samples_per_shard=None)
    with StoreWriter(path, settings, resume=resume) as writer:
        labels = source.labels if labels is None else labels
        indices, first = range(len(source)) if indices is None else indices, 0
        if isinstance(source, StoreReader):
            first = writer.num_committed
            batches = source.iter_batches(indices[first:], sound=True)
        else:
            batches = source.iter_batches()
        for tokens in batches:
            stop = first + len(tokens)
            new = slice(min(len(tokens), max(0, writer.num_samples - first)), None)  # a release is read from its start
            if len(tokens[new]):
                changed = tokens[new] if change is None else change(tokens[new], first)
                writer.append(changed, None if labels is None else labels[first:stop][new])
            first = stop
            if progress is not None:
                progress(first, len(indices))
        if settings.label_kind == "segmentation" and isinstance(source, StoreReader):
            copy_label_maps(source, range(len(source)), writer.path)
        if at_end is not None:
            at_end(writer)


def copy_label_maps(reader: StoreReader, samples: range, target: Path, begin: int = 0) -> None:
    """Copy label maps that match their checksums to a store in which `reader`'s first sample has the number `begin`.

    A store that records no checksums may lack some.
    """
    for number in samples:
        try:
            content = reader.read_label_map(number, sound=True)
        except FileNotFoundError:
            if reader.label_map_checksums is not None:
                raise
            continue
        path = target / label_file(begin + number)
        if not path.is_file() or path.read_bytes() != content:
            write_whole(path, content)


def _copied(reader: StoreReader, **more: Any) -> dict[str, Any]:
    """Return the `source` entry of a store that is made from another one."""
    return {**reader.header["source"], "copied_from": reader.content_hash, **more}


def copy_store(reader: StoreReader, path: str | Path, **options: Any) -> None:
    """Write a store again, with another codec or other shards; see `rewrite_store` for the options and errors.

    The new header's `source` is that of the old one, and `copied_from`, the content hash of the old one.
    """
    rewrite_store(reader, path, replace(reader.settings, source=_copied(reader)), **options)


def subset_store(
    reader: StoreReader,
    path: str | Path,
    table: np.ndarray,
    *,
    nearest: bool = False,
    distance: str | None = None,
    **options: Any,
) -> None:
    """Write a store whose code i is code `table[i]` of another one; the table is kept beside it.

    Codebook and synonyms are cut down with the codes. If the store is a subset itself, the kept table leads to the
    codes of the original all the same.

    Args:
        reader: The store to read, of plain codes.
        table: Codes to keep (K',), each once.
        nearest: Replace codes outside the table by the nearest row among the kept ones; otherwise they are an error.
        distance: `cosine` or `euclidean`, for `nearest`; by default that which the header states.
        **options: `codec`, `shard_bytes`, `resume` and `progress` of `rewrite_store`, whose errors are raised.

    Raises:
        ValueError: The table is no table of this store, a code lies outside it, or `nearest` lacks a codebook or a
            distance.
    """
    check_plain(reader)
    table = check_table(table, reader.codebook_size)
    source = _copied(reader)
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
    original = np.arange(reader.codebook_size) if outer is None else outer.codes
    settings = replace(
        reader.settings,
        codebook_size=len(table),
        codebook=None if reader.codebook is None else reader.codebook[table],
        synonyms=_renumbered_synonyms(reader.synonyms, {int(code): new for new, code in enumerate(table)}),
        code_table=CodeTable(original[table], reader.codebook_size if outer is None else outer.codebook_size),
        source=source,
    )
    rewrite_store(reader, path, settings, change=renumber, **options)


def restore_store(
    reader: StoreReader,
    path: str | Path,
    codebook: np.ndarray | None = None,
    **options: Any,
) -> None:
    """Write a subset of `subset_store` with the original numbers of its codes; `rewrite_store` has options and errors.

    Without `codebook`, all original code vectors (K, D), the new store has none; one that its rows were not taken from
    is a `ValueError`, as is a store without a code table.
    """
    table = reader.code_table
    if table is None:
        raise ValueError(f"{reader.path} has no code table, its codes are not numbers of a larger codebook")
    if codebook is not None:
        _check_codebook(reader, table, codebook)
    settings = replace(
        reader.settings,
        codebook_size=table.codebook_size,
        codebook=codebook,
        synonyms=_renumbered_synonyms(reader.synonyms, dict(enumerate(table.codes.tolist()))),
        code_table=None,
        source=_copied(reader),
    )
    rewrite_store(reader, path, settings, change=lambda tokens, _: table.codes[tokens], **options)


def _check_codebook(reader: StoreReader, table: CodeTable, codebook: np.ndarray) -> None:
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
    """Return synonyms with the new numbers of their codes, without codes that have none."""
    if synonyms is None:
        return None
    return {
        numbers[code]: [numbers[other] for other in similar if other in numbers]
        for code, similar in synonyms.items()
        if code in numbers
    }


def select_classes(
    reader: StoreReader,
    path: str | Path,
    chosen: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """Write the samples of some classes into a new store, in their order, with labels 0, 1, ... by sorted class name.

    Tokenizer, codebook, synonyms and code table are kept. The new header's `source` holds `class_names_hash` of the
    chosen names, the content hash of the old store, and its `source`. A store that carries no class names needs
    `names`, in the order of their indices. `rewrite_store` has the other options and errors.

    Raises:
        ValueError: The store has no labels or no class names, `names` do not fit it, or a class is chosen twice,
            unknown or without samples.
    """
    classes = sorted(chosen)
    labels = _new_labels(classes, _class_names(reader, names))[reader.labels]
    indices = np.flatnonzero(labels >= 0)
    labels = labels[indices]
    counts = np.bincount(labels, minlength=len(classes))
    if (empty := np.flatnonzero(counts == 0)).size:
        raise ValueError(
            f"{reader.path} has no samples of {empty.size} of the {len(classes)} classes, such as {classes[empty[0]]!r}"
        )
    source = {
        "kind": "classes of a store",
        "classes_hash": class_names_hash(classes),
        "selected_from": reader.content_hash,
        "source": reader.header["source"],
    }
    settings = replace(reader.settings, classes=classes, label_dtype=None, source=source)
    rewrite_store(reader, path, settings, indices=indices, labels=labels, **options)


def _class_names(reader: StoreReader, names: Sequence[str] | None) -> list[str]:
    """Return the class names of a store in the order of their indices, its own or those given."""
    if reader.labels is None:
        raise ValueError(
            f"{reader.path} has labels of the kind {reader.header['labels']['kind']!r}, expected class labels"
        )
    if reader.classes is not None:
        if names is not None and list(names) != reader.classes:
            raise ValueError(f"{reader.path} carries other class names than those given; leave them out")
        return reader.classes
    num_classes = int(reader.labels.max()) + 1
    if names is None:
        raise ValueError(
            f"{reader.path} carries no class names; name its {num_classes} classes in the order of their indices "
            "(--classes-file, for ImageNet the sorted synsets)"
        )
    if len(names) != num_classes:
        raise ValueError(f"{len(names)} class names were given, but {reader.path} has labels below {num_classes}")
    return list(names)


def _new_labels(chosen: list[str], names: list[str]) -> np.ndarray:
    """Return the new label of each old one, int64; -1 for classes that were not chosen."""
    for kind, listed in (("chosen", chosen), ("a class of the store", names)):
        if len(set(listed)) != len(listed):
            double = next(name for name in listed if listed.count(name) > 1)
            raise ValueError(f"class {double!r} is {kind} twice, expected different names")
    index = {name: number for number, name in enumerate(names)}
    if unknown := [name for name in chosen if name not in index]:
        raise ValueError(
            f"{len(unknown)} of {len(chosen)} chosen classes are not among the {len(names)} of the store, such as "
            f"{unknown[0]!r}; its names are like {names[0]!r}"
        )
    new_label = np.full(len(names), -1, np.int64)
    new_label[[index[name] for name in chosen]] = np.arange(len(chosen))
    return new_label
