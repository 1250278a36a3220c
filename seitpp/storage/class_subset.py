"""A store of some classes of another one, without making its tokens again."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.reader import StoreReader
from seitpp.storage.stats import class_names_hash
from seitpp.storage.writer import DEFAULT_SHARD_BYTES, StoreWriter


def select_classes(
    reader: StoreReader,
    path: str | Path,
    chosen: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    codec: str = "bitpacked",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: store_format.Progress | None = None,
) -> None:
    """Write the samples of some classes into a new store, in their order, with labels 0, 1, ... by sorted class name.

    Tokenizer, codebook, synonyms and code table are kept. The new header's `source` holds `class_names_hash` of the
    chosen names, the content hash of the old store, and its `source`.

    Args:
        reader: The store to read.
        path: Folder of the new store.
        chosen: Names of the classes, in any order.
        names: Class names of the store in the order of their indices, where it carries none.
        codec: Codec of the new store.
        shard_bytes: Size that a new shard should not exceed.
        resume: Continue an interrupted selection from the same store.
        progress: Called with the number of samples done and their total.

    Raises:
        FileExistsError: `path` is not empty, and `resume` is not set.
        ValueError: The store has no labels or no class names, `names` do not fit it, a class is chosen twice, unknown
            or without samples, or a shard is damaged.
    """
    classes = sorted(chosen)
    new_label = _new_labels(classes, _class_names(reader, names))
    labels = new_label[reader.labels]
    places = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[places], minlength=len(classes))
    if (empty := np.flatnonzero(counts == 0)).size:
        raise ValueError(
            f"{reader.path} has no samples of {empty.size} of the {len(classes)} classes, such as {classes[empty[0]]!r}"
        )
    with StoreWriter(
        path,
        codebook_size=reader.codebook_size,
        grid=reader.grid,
        tokenizer=reader.header["tokenizer"],
        codebook=reader.codebook,
        codec=codec,
        label_kind="class",
        classes=classes,
        source={
            "kind": "classes of a store",
            "classes_hash": class_names_hash(classes),
            "selected_from": reader.content_hash,
            "source": reader.header["source"],
        },
        synonyms=reader.synonyms,
        channels=reader.channels,
        minimum=reader.minimum,
        code_table=reader.code_table,
        shard_bytes=shard_bytes,
        resume=resume,
    ) as writer:
        _copy(reader, writer, places, labels, progress)


def _copy(
    reader: StoreReader,
    writer: StoreWriter,
    places: np.ndarray,
    labels: np.ndarray,
    progress: store_format.Progress | None,
) -> None:
    """Append the samples at ascending places that the writer does not have yet, from shards that match their hash."""
    step, checked = samples_at_a_time(math.prod(reader.sample_shape)), 0
    for start in range(writer.num_committed, len(places), step):
        batch = places[start : start + step]
        while (unchecked := batch[batch >= checked]).size:
            checked = reader.require_sound_shard(int(unchecked[0]))
        writer.append(reader.read(batch), labels[batch])
        if progress is not None:
            progress(writer.num_samples, len(places))


def _class_names(reader: StoreReader, names: Sequence[str] | None) -> list[str]:
    """Class names of a store in the order of their indices, its own or those given."""
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
    """New label of each old one, int64; -1 for classes that were not chosen."""
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
