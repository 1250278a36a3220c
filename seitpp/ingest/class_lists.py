"""Lists of labelled images, as `tools/tokenize_images.py` reads them, and lists of class names.

A data set becomes one `SPLIT.csv` a split, `path,label` with class names as labels, and `classes.txt`, one name a line
in the order of their indices. Images stay where they are.
"""

import csv
import os
import posixpath
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seitpp.ingest.sources.base import count_endings, described_endings, is_image_name, read_class_names
from seitpp.ingest.sources.files import list_files, list_folders, read_file
from seitpp.io.files import written_whole
from seitpp.io.text_files import text_lines, unquoted
from seitpp.storage.stats import class_names_hash

CLASSES_FILE = "classes.txt"
# Lists of 100 ImageNet classes that go by the same name, by `class_names_hash` of the sorted synsets.
KNOWN_LISTS = {"d61d354b64beb3ce": "the CMC list", "fe8959b5f87ec663": "the SCAN list"}


@dataclass(frozen=True)
class LabelledImages:
    """The images of a data set, split by split.

    Args:
        classes: Class names in the order of their indices.
        images: By the name of a split: the path of each image, relative to the data set's folder and with forward
            slashes, and the name of its class.
        skipped: Files that were found and not taken for images, counted by their ending.
    """

    classes: list[str]
    images: dict[str, list[tuple[str, str]]]
    skipped: dict[str, int] = field(default_factory=dict)


def write_image_lists(found: LabelledImages, root: str | Path, out: str | Path) -> list[Path]:
    """Write `classes.txt` and a CSV list of each split.

    Args:
        found: Classes and images.
        root: Folder that the paths are relative to; every image must be there.
        out: Folder to write to.

    Returns:
        The lists, in the order of the splits.

    Raises:
        FileNotFoundError: Images are missing.
        FileExistsError: There is a `classes.txt` of other classes, or in another order.
        ValueError: A name fits no line, a label is no class, an image is named twice, or a split has no images.
    """
    _check_names(found.classes)
    for split, images in found.images.items():
        _check_images(split, images, set(found.classes))
        _require_files(Path(root), [path for path, _ in images])
    _refuse_other_classes(Path(out, CLASSES_FILE), found.classes)
    with written_whole(Path(out, CLASSES_FILE)) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in found.classes), "utf-8")
    paths = [Path(out, f"{split}.csv") for split in found.images]
    for path, images in zip(paths, found.images.values(), strict=True):
        with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("path", "label"))
            rows.writerows(images)
    return paths


def describe_lists(found: LabelledImages, root: str | Path, lists: Sequence[Path]) -> str:
    """What was written, and the command that tokenises it, for a person to read."""
    classes_path = lists[0].with_name(CLASSES_FILE)
    lines = [f"{classes_path}: {describe_classes(found.classes)}"]
    lines += [f"{path}: {len(images)} images" for path, images in zip(lists, found.images.values(), strict=True)]
    if found.skipped:
        lines.append(f"not taken for images, by their ending: {described_endings(found.skipped)}")
    base = "" if lists[0].parent == Path(root) else f" --root {root}"
    lines.append(
        f"next: python tools/tokenize_images.py TOKENIZER_CONFIG {lists[0]} OUT_STORE --classes {classes_path}{base}"
    )
    return "\n".join(lines)


def make_lists(
    read: Callable[[], LabelledImages],
    root: Path,
    out: Path | None,
    images: Mapping[str, int],
    num_classes: int,
) -> int:
    """What a converter of `tools/dataset_converters/` does: read a data set, write its lists, say what came of it.

    Args:
        read: Reads the data set.
        root: Its folder.
        out: Folder to write to; `root` if None.
        images: Published number of images of each split; another one is warned of.
        num_classes: Published number of classes.

    Returns:
        The exit status, 0, or 1 after an error.
    """
    try:
        found = read()
        lists = write_image_lists(found, root, out or root)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in unexpected_counts(found, images, num_classes):
        print(f"warning: {line}", file=sys.stderr)
    print(describe_lists(found, root, lists))
    return 0


def describe_classes(classes: Sequence[str]) -> str:
    """Number and hash of class names, and what a list with this hash is called, if it is a known one."""
    found = class_names_hash(classes)
    known = KNOWN_LISTS.get(class_names_hash(sorted(classes)))
    return f"{len(classes)} classes, hash {found}" + (f", {known}" if known else "")


def unexpected_counts(found: LabelledImages, images: Mapping[str, int], num_classes: int) -> list[str]:
    """A line for each count that is not that of the published data set.

    Args:
        found: Classes and images.
        images: Published number of images of each split.
        num_classes: Published number of classes.
    """
    counts = [("classes", len(found.classes), num_classes)]
    counts += [(f"{split} images", len(found.images[split]), wanted) for split, wanted in images.items()]
    return [f"{what}: {count:,}, published are {wanted:,}" for what, count, wanted in counts if count != wanted]


def read_classes_list(path: str | Path) -> list[str]:
    """Names of the classes to keep, one a line in any order, sorted.

    Raises:
        ValueError: There are none, or one is named twice.
    """
    lines = text_lines(read_file(str(path)), path, "list of class names")
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = unquoted(line)
        if name in line_of:
            raise ValueError(f"{path}, line {number}: class {name!r} is named already in line {line_of[name]}")
        if name:
            line_of[name] = number
    if not line_of:
        raise ValueError(f"{path} names no classes; expected one a line")
    return sorted(line_of)


def read_class_order(path: str | Path) -> list[str]:
    """Class names in the order of their indices: the lines of a file, or the sorted sub-folders of a folder.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: There are no names, or they are not different.
    """
    if not Path(path).is_dir():
        return read_class_names(str(path))
    names = list_folders(str(path))
    if not names:
        raise ValueError(f"{path} has no sub-folders; expected one a class, or a file of names, one a line")
    return names


def images_of_classes(
    root: str | Path, classes: Sequence[str], skipped: dict[str, int] | None = None
) -> list[tuple[str, str]]:
    """Images in some of the class folders `ROOT/CLASS/**`, class by class.

    Args:
        root: Folder of the class folders.
        classes: Names of those to read.
        skipped: Gets the numbers of files that are no images, by their ending.

    Returns:
        Path relative to `root` and class name of each image.

    Raises:
        FileNotFoundError: There is no folder of a class.
        ValueError: It holds no images.
    """
    folders = set(list_folders(str(root)))  # by name: a path in place of one would lead elsewhere
    if absent := [name for name in classes if name not in folders]:
        raise FileNotFoundError(
            f"{root} has no folder for {len(absent)} of the {len(classes)} classes, such as {absent[0]!r}; expected "
            "one a class, named as in the list"
        )
    images, others = [], []
    for name in classes:
        found = list_files(os.path.join(root, name))
        inside = [f"{name}/{file}" for file in found if is_image_name(file)]
        others += [file for file in found if not is_image_name(file)]
        if not inside:
            raise ValueError(f"{root}: class folder {name!r} holds no images; expected image files in it")
        images += [(path, name) for path in inside]
    if skipped is not None:
        skipped.update(count_endings(others))
    return images


def _refuse_other_classes(path: Path, classes: Sequence[str]) -> None:
    """Refuse to write over class names that other lists go by."""
    if path.exists() and text_lines(read_file(str(path)), path, "list of class names") != list(classes):
        raise FileExistsError(
            f"{path} exists and holds other class names, or the same in another order; name another folder for the "
            "lists, or remove that file"
        )


def _check_names(classes: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in classes:
        if name != name.strip() or len(name.splitlines()) != 1:
            raise ValueError(f"class name {name!r} is not one line without blanks around it")
        if name in seen:
            raise ValueError(f"class name {name!r} stands for two classes; names must differ")
        seen.add(name)


def _check_images(split: str, images: Sequence[tuple[str, str]], classes: set[str]) -> None:
    if not images:
        raise ValueError(f"{split}: no images are listed")
    seen: set[str] = set()
    for path, label in images:
        if label not in classes:
            raise ValueError(f"{split}: label {label!r} of {path} is not among the {len(classes)} classes")
        if path in seen:
            raise ValueError(f"{split}: {path} is listed twice")
        seen.add(path)


def _require_files(root: Path, paths: Sequence[str]) -> None:
    """Raise `FileNotFoundError` unless all images are there; each folder is read once."""
    present: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = posixpath.split(path)
        if folder not in present:
            present[folder] = set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
        if name not in present[folder]:
            missing.append(path)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} images are missing, such as {root / missing[0]}; unpack the images there"
        )
