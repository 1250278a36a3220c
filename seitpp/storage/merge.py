"""Uniting token stores that were made by one tokenizer: samples in a row, classes by name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.text import shown
from seitpp.storage.header import Progress, sha256_hex
from seitpp.storage.reader import StoreReader
from seitpp.storage.rewrite import copy_label_maps
from seitpp.storage.settings import DEFAULT_SHARD_BYTES, StoreSettings
from seitpp.storage.writer import StoreWriter
from seitpp.structures.class_names import united_classes

# Of a header's entry on its tokenizer, what does not change tokens.
_NO_MATTER = ("name", "checkpoint", "precision")


def merge_stores(
    readers: Sequence[StoreReader],
    path: str | Path,
    *,
    unlabelled: bool = False,
    codec: str | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the samples of several stores into a new one, store after store, with the very codes that they have.

    Classes are united by name; stores without names keep their numbers. Label maps are copied where all stores number
    their classes alike. Each shard that is read is compared with its hash first.

    Args:
        readers: Stores of one tokenizer, at least two, none twice.
        path: Folder of the new store; it must not exist or be empty, unless `resume` is set.
        unlabelled: Whether to leave labels out.
        codec: Codec of the new store; by default that of the stores if it is the same, else `bitpacked`.
        shard_bytes: Size that a new shard should not exceed.
        resume: Continue an interrupted run of the same call.
        progress: Called with samples done and their total.

    Raises:
        FileExistsError: `path` is not empty, and `resume` is not set.
        ValueError: The stores do not belong together, a shard is damaged, or the store in `path` was begun otherwise.
    """
    settings, numbers = merged_settings(readers, unlabelled)
    same_codec = {reader.header["codec"]["name"] for reader in readers}
    codec = codec or (same_codec.pop() if len(same_codec) == 1 else "bitpacked")
    settings = replace(settings, codec=codec, shard_bytes=shard_bytes, samples_per_shard=None)
    total, begin = sum(map(len, readers)), 0
    with StoreWriter(path, settings, resume=resume) as writer:
        for reader, new in zip(readers, numbers, strict=True):
            labels = None if settings.label_kind != "class" or reader.labels is None else reader.labels
            if labels is not None and new is not None:
                labels = new[labels]
            first = min(len(reader), max(0, writer.num_samples - begin))  # of a run that goes on
            for tokens in reader.iter_batches(range(first, len(reader)), sound=True):
                stop = first + len(tokens)
                if settings.label_kind == "segmentation":
                    copy_label_maps(
                        reader, range(first, stop), writer.path, begin
                    )  # first: what is committed has its own
                writer.append(tokens, None if labels is None else labels[first:stop])
                first = stop
                if progress is not None:
                    progress(begin + first, total)
            begin += len(reader)


def merged_settings(
    readers: Sequence[StoreReader], unlabelled: bool = False
) -> tuple[StoreSettings, list[np.ndarray | None]]:
    """Return what the union of stores is, and for each the new index (K,) of each of its classes; None: the same.

    Raises:
        ValueError: The stores are of different tokenizers or kinds of labels, or their classes cannot be united.
    """
    first = readers[0]
    if len(readers) < 2:
        raise ValueError(f"{first.path} alone is nothing to merge; name two stores or more")
    for number, reader in enumerate(readers[1:], 1):
        if twice := [one for one in readers[:number] if one.content_hash == reader.content_hash]:
            raise ValueError(f"{twice[0].path} and {reader.path} hold the same samples; name each store once")
        if difference := _tokenizer_difference(first, reader):
            raise ValueError(
                f"{first.path} and {reader.path} were not made by the same tokenizer: {difference}. Codes of different "
                "tokenizers mean different things; tokenise the images of one of them again, with the tokenizer of the "
                f"other (python tools/tokenize_images.py {first.path} IMAGES OUT)"
            )
    synonyms = first.synonyms if all(reader.synonyms == first.synonyms for reader in readers) else None
    source: dict[str, Any] = {
        "kind": "merged stores",
        "num_images": sum(map(len, readers)),
        "parts": [
            {"num_samples": len(one), "content_hash": one.content_hash, "source": one.header["source"]}
            for one in readers
        ],
    }
    settings = replace(first.settings, synonyms=synonyms, source=source, label_dtype=None)
    if unlabelled:
        return replace(settings, label_kind="none", classes=None), [None] * len(readers)
    kinds = [reader.header["labels"]["kind"] for reader in readers]
    if len(set(kinds)) > 1:
        said = ", ".join(f"{reader.path}: {kind}" for reader, kind in zip(readers, kinds, strict=True))
        raise ValueError(
            f"the stores have different kinds of labels ({said}); merge those of one kind, or pass unlabelled=True "
            "(--unlabelled) to leave labels out"
        )
    if kinds[0] == "class":
        return _with_classes(settings, readers)
    if kinds[0] == "segmentation":
        source["label_maps"] = _common_label_maps(readers)
        settings = replace(settings, source={key: value for key, value in source.items() if value is not None})
    return settings, [None] * len(readers)


def _tokenizer_difference(first: StoreReader, second: StoreReader) -> str | None:
    """Return where the tokens of two stores differ in kind, such as `quality 50 and 90`."""
    pairs: dict[str, tuple[Any, Any]] = {
        name: (getattr(first, name), getattr(second, name))
        for name in ("grid", "codebook_size", "channels", "minimum", "codebook_sha256")
    }
    pairs["code table"] = (_hash_of_table(first), _hash_of_table(second))
    one, other = first.header["tokenizer"], second.header["tokenizer"]
    for key in sorted(one.keys() & other.keys() - set(_NO_MATTER)):
        pairs.setdefault(f"tokenizer.{key}", (one[key], other[key]))
    different = [f"{name} {shown(a, 16)} and {shown(b, 16)}" for name, (a, b) in pairs.items() if a != b]
    return ", ".join(different) or None


def _hash_of_table(reader: StoreReader) -> str | None:
    return None if reader.code_table is None else sha256_hex(reader.code_table.codes)[:12]


def _with_classes(
    settings: StoreSettings, readers: Sequence[StoreReader]
) -> tuple[StoreSettings, list[np.ndarray | None]]:
    named = [reader.classes for reader in readers if reader.classes is not None]
    if not named:
        dtype = max((reader.header["labels"]["dtype"] for reader in readers), key=lambda name: np.dtype(name).itemsize)
        return replace(settings, classes=None, label_dtype=dtype), [None] * len(readers)
    if len(named) < len(readers):
        nameless = next(reader.path for reader in readers if reader.classes is None)
        raise ValueError(
            f"{nameless} has class indices without names, and other stores have names: nothing says which classes are "
            "the same. Make it again with --classes FILE, or pass unlabelled=True (--unlabelled)"
        )
    classes, numbers = united_classes(named)
    return replace(settings, classes=classes), list(numbers)


def _common_label_maps(readers: Sequence[StoreReader]) -> Any:
    """Return what the stores say of their label maps; an error where they do not number the classes alike."""
    first = readers[0]
    for reader in readers[1:]:
        for what, one, other in (
            ("class names", first.classes, reader.classes),
            ("label maps", first.header["source"].get("label_maps"), reader.header["source"].get("label_maps")),
        ):
            if one != other:
                raise ValueError(
                    f"{first.path} and {reader.path} have other {what}, {shown(one)} and {shown(other)}; label maps "
                    "are copied and not renumbered or resized, so make the stores alike first"
                )
    return first.header["source"].get("label_maps")
