"""Where the images of any source lie when they are written as files, one folder per class."""

import posixpath
from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from seitpp.ingest.sources import ImageSource
from seitpp.ingest.sources.base import is_image_name

_LONGEST_NAME = 255  # bytes that file systems take


def class_folders(source: ImageSource) -> list[str] | None:
    """Return the folder of each class in the order of their indices; None for images without labels.

    Classes without names get their numbers, with zeros in front so that their order as text is that of the indices.

    Raises:
        ValueError: A class has a name that no folder may have, or that leads out of the folder written to.
    """
    if source.labels is None:
        return None
    if source.classes is None:
        count = int(source.labels.max()) + 1
        return [f"{number:0{len(str(count - 1))}d}" for number in range(count)]
    for name in source.classes:
        if name.startswith(".") or not name.strip() or any(mark in name for mark in "/\\\0"):
            raise ValueError(
                f"class {name!r} cannot be the name of a folder: it is empty, begins with a dot, or holds a slash; "
                "give other names with --classes FILE"
            )
        if len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"class {name[:40]!r}... has a name of more than {_LONGEST_NAME} bytes; shorten it")
    return list(source.classes)


def order_warning(folders: list[str] | None) -> str | None:
    """Say that folders, which are read in the order of their names, number the classes otherwise than the source."""
    if folders is None or folders == sorted(folders):
        return None
    return (
        "the source numbers its classes in another order than that of their names, and class folders are read in that "
        "of their names: a model that was trained on the one is not for the other"
    )


def target_stems(source: ImageSource, folders: list[str] | None, one_ending: bool) -> list[str]:
    """Return the path of each image below the folder written to, without its ending; all are different.

    Images of folders keep their names, and those of every other source get their numbers. With `one_ending`, where
    `a.png` and `a.jpg` would become one file, such names keep their ending in front of the new one.
    """
    if source.kind != "folder":
        numbers = [f"{number:08d}" for number in range(len(source))]
        return numbers if folders is None else list(map(posixpath.join, _folder_of_each(source, folders), numbers))
    for name in source.names:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{source.root} lists an image {name!r}, which leads out of the folder; rename it")
    stems = [posixpath.splitext(name)[0] for name in source.names]
    if not one_ending:
        return stems
    times = Counter(stems)
    return [name if times[stem] > 1 else stem for name, stem in zip(source.names, stems, strict=True)]


def ending_of(name: str, image_format: str) -> str:
    """Return the ending of an image's name, or, where it says nothing, that of the file's format."""
    return PurePosixPath(name).suffix if is_image_name(name) else f".{image_format.lower()}"


def check_all_classes(source: ImageSource, folders: list[str] | None, kept: np.ndarray, remedy: str) -> None:
    """Refuse a part of the images that leaves a class without one: class folders would number the others anew."""
    if folders is None:
        return
    if (lost := np.setdiff1d(source.labels, source.labels[kept])).size:
        raise ValueError(
            f"{len(lost)} classes, such as {folders[lost[0]]!r}, would have none of the {len(kept):,} images that are "
            f"left, and class folders would number the others anew; {remedy}"
        )


def _folder_of_each(source: ImageSource, folders: list[str]) -> list[str]:
    return [folders[label] for label in source.labels]
