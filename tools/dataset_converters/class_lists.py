"""Lists of labelled images as `tools/tokenize_images.py` reads them; the converters beside this file write them.

A data set becomes one `SPLIT.csv` per split, `path,label` with class names as labels, and `classes.txt`, one name per
line in the order of their indices. Images stay where they are.
"""

import csv
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seitpp.ingest.sources.base import count_endings, described_endings, is_image_name
from seitpp.ingest.sources.files import list_files, list_folders, read_file
from seitpp.io.atomic_write import written_whole
from seitpp.io.text import shown, text_lines, unquoted
from seitpp.io.untrusted import PARSER_ERRORS, check_regular_file
from seitpp.storage.stats import class_names_hash

CLASSES_FILE = "classes.txt"
# Lists of 100 ImageNet classes that go by the same name, by `class_names_hash` of the sorted synsets.
KNOWN_LISTS = {"d61d354b64beb3ce": "the CMC list", "fe8959b5f87ec663": "the SCAN list"}


@dataclass(frozen=True)
class LabelledImages:
    """The images of a data set, split by split."""

    classes: list[str]  # class names in the order of their indices
    images: dict[str, list[tuple[str, str]]]  # by split: path relative to the data set's folder, and class name
    skipped: dict[str, int] = field(default_factory=dict)  # files not taken for images, counted by their ending


def read_mmpretrain(
    kind: str, root: str | Path, splits: Mapping[str, str], files: Sequence[str], classes: Sequence[str] | None = None
) -> LabelledImages:
    """Read a published data set through mmpretrain's class for it.

    Args:
        kind: Name of the class in `mmpretrain.datasets`.
        root: Folder of the data set.
        splits: mmpretrain's name of each split, by ours.
        files: Annotation files that the class reads, relative to `root`.
        classes: Class names in the order of the labels; None for those that mmpretrain knows.
    """
    for file in files:
        check_regular_file(Path(root, file), "annotations")
    import mmpretrain.datasets  # takes seconds
    from mat4py.loadmat import ParseError

    images = {}
    for split, its_name in splits.items():
        try:
            dataset = getattr(mmpretrain.datasets, kind)(data_root=str(root), split=its_name, pipeline=[])
            infos = [(info["img_path"], info["gt_label"]) for info in map(dataset.get_data_info, range(len(dataset)))]
        except (*PARSER_ERRORS, ParseError, AssertionError, AttributeError) as error:
            raise ValueError(
                f"{root}: mmpretrain's {kind} cannot read {', '.join(files)} ({type(error).__name__}: {error}); take "
                "the published files"
            ) from error
        names = list(dataset.metainfo["classes"] if classes is None else classes)
        for path, label in infos:
            if not isinstance(path, str) or not isinstance(label, int | np.integer) or not 0 <= label < len(names):
                raise ValueError(
                    f"{root}: {shown(path)} has the label {shown(label)}, expected a number from 0 to {len(names) - 1}"
                )
        images[split] = [(Path(os.path.relpath(path, root)).as_posix(), names[label]) for path, label in infos]
    return LabelledImages(names, images)


def write_image_lists(found: LabelledImages, root: str | Path, out: str | Path) -> list[Path]:
    """Write `classes.txt` and a CSV list of each split to `out`; return the lists.

    Raises:
        FileNotFoundError: Images are missing in `root`, which their paths are relative to.
        FileExistsError: There is a `classes.txt` of other classes, or in another order.
        ValueError: A class name does not fit on a line, a label is no class, an image is listed twice, or a split has
            no images.
    """
    for name, times in Counter(found.classes).items():
        if name != name.strip() or len(name.splitlines()) != 1:
            raise ValueError(f"class name {name!r} is not one line without blanks around it")
        if times > 1:
            raise ValueError(f"class name {name!r} stands for two classes; names must differ")
    split_of: dict[str, str] = {}
    for split, images in found.images.items():
        _check_images(split, images, set(found.classes), split_of)
    if missing := [path for path in split_of if not Path(root, path).is_file()]:
        raise FileNotFoundError(
            f"{len(missing)} of {len(split_of)} images are missing, such as {Path(root, missing[0])}; unpack the "
            "images there"
        )
    path = Path(out, CLASSES_FILE)
    if path.exists() and text_lines(read_file(str(path)), path, "list of class names") != found.classes:
        raise FileExistsError(
            f"{path} exists and holds other class names, or the same in another order; name another folder for the "
            "lists, or remove that file"
        )
    with written_whole(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in found.classes), "utf-8")
    paths = [Path(out, f"{split}.csv") for split in found.images]
    for path, images in zip(paths, found.images.values(), strict=True):
        with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("path", "label"))
            rows.writerows(images)
    return paths


def describe_lists(found: LabelledImages, root: str | Path, lists: Sequence[Path]) -> str:
    """Say what was written, and the command that tokenises it."""
    classes_path = lists[0].with_name(CLASSES_FILE)
    lines = [f"{classes_path}: {describe_classes(found.classes)}"]
    lines += [f"{path}: {len(images)} images" for path, images in zip(lists, found.images.values(), strict=True)]
    if found.skipped:
        lines.append(f"not taken for images, by their ending: {described_endings(found.skipped)}")
    base = "" if lists[0].parent == Path(root) else f" --root {root}"
    lines.append(f"next: python tools/tokenize_images.py TOKENIZER {lists[0]} OUT_STORE --classes {classes_path}{base}")
    return "\n".join(lines)


def make_lists(
    found: LabelledImages, root: Path, out: Path | None, images: Mapping[str, int], num_classes: int
) -> None:
    """Write the lists of a data set, warn where they do not have the published numbers, and say what was written."""
    lists = write_image_lists(found, root, out or root)
    for line in unexpected_counts(found, images, num_classes):
        print(f"warning: {line}", file=sys.stderr)
    print(describe_lists(found, root, lists))


def describe_classes(classes: Sequence[str]) -> str:
    """Return the number and hash of class names, and what a list with this hash is called, if it is a known one."""
    found = class_names_hash(classes)
    known = KNOWN_LISTS.get(class_names_hash(sorted(classes)))
    return f"{len(classes)} classes, hash {found}" + (f", {known}" if known else "")


def unexpected_counts(found: LabelledImages, images: Mapping[str, int], num_classes: int) -> list[str]:
    """Return a line for each count that is not that of the published data set; arguments as in `make_lists`."""
    counts = [("classes", len(found.classes), num_classes)]
    counts += [(f"{split} images", len(found.images[split]), wanted) for split, wanted in images.items()]
    return [f"{what}: {count:,}, published are {wanted:,}" for what, count, wanted in counts if count != wanted]


def read_classes_list(path: str | Path) -> list[str]:
    """Read the names of the classes to keep, one per line in any order; return them sorted."""
    line_of: dict[str, int] = {}
    for number, line in enumerate(text_lines(read_file(str(path)), path, "list of class names"), 1):
        name = unquoted(line)
        if name and line_of.setdefault(name, number) != number:
            raise ValueError(f"{path}, line {number}: class {name!r} is named already in line {line_of[name]}")
    if not line_of:
        raise ValueError(f"{path} names no classes; expected one per line")
    return sorted(line_of)


def images_of_classes(root: str | Path, classes: Sequence[str]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Find the images in some of the class folders `ROOT/CLASS/**`, class by class.

    Returns:
        Path relative to `root` and class name of each image; and the numbers of files that are no images, by their
        ending.
    """
    folders = set(list_folders(str(root)))  # by name: a path in place of one would lead elsewhere
    if absent := [name for name in classes if name not in folders]:
        raise FileNotFoundError(
            f"{root} has no folder for {len(absent)} of the {len(classes)} classes, such as {absent[0]!r}; expected "
            "one folder per class, named as in the list"
        )
    images, others = [], []
    for name in classes:
        found = list_files(os.path.join(root, name))
        inside = [file for file in found if is_image_name(file)]
        if not inside:
            raise ValueError(f"{root}: class folder {name!r} holds no images; expected image files in it")
        images += [(f"{name}/{file}", name) for file in inside]
        others += [file for file in found if not is_image_name(file)]
    return images, count_endings(others)


def _check_images(split: str, images: Sequence[tuple[str, str]], classes: set[str], split_of: dict[str, str]) -> None:
    if not images:
        raise ValueError(f"{split}: no images are listed")
    for path, label in images:
        if label not in classes:
            raise ValueError(f"{split}: label {label!r} of {path} is not among the {len(classes)} classes")
        if path in split_of:
            raise ValueError(f"{split}: {path} is listed twice, first in {split_of[path]}")
        split_of[path] = split
