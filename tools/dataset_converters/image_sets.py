"""Sets of images in memory or in files, and how they are written; the converters beside this file make them.

A set becomes class folders that `tools/tokenize_images.py` reads, `OUT/SPLIT/CLASS/*`, with `OUT/classes.txt` in the
order of the labels; or `OUT/images.npz`; or images with label maps. OUT appears when all of it is written.
"""

import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.images.recompressing import png_bytes
from seitpp.io.progress import progress_bar
from seitpp.io.untrusted import check_regular_file

CLASSES_FILE, ARRAYS_FILE = "classes.txt", "images.npz"


@dataclass(frozen=True)
class Part:
    """The images of a split."""

    labels: Sequence[int]  # class index of each image
    images: np.ndarray | Sequence[Path]  # pixels (N, H, W) or (N, H, W, 3), uint8; or a file for each
    label_maps: Sequence[Path] = ()  # a file for each image, if there are any


@dataclass(frozen=True)
class ImageSet:
    """A data set, split by split."""

    classes: list[str]  # names in the order of their indices
    parts: dict[str, Part]  # by split


def write_class_folders(found: ImageSet, out: Path) -> None:
    """Write `OUT/SPLIT/CLASS/*` and `OUT/classes.txt`: files are copied byte for byte, arrays become PNG files.

    Folders are named as `folder_names` says. Raises as `_new_folder`, and `FileNotFoundError` for a missing image.
    """
    folders = folder_names(found.classes)
    with _new_folder(out) as aside:
        for name, part in found.parts.items():
            for label in sorted(set(part.labels)):
                (aside / name / folders[label]).mkdir(parents=True)
        _write_names(folders, aside)
        _write_images(found, aside, lambda name, label: aside / name / folders[label])


def write_arrays(found: ImageSet, out: Path) -> None:
    """Write `OUT/images.npz` with `SPLIT_images` and `SPLIT_labels` of each split, and `classes`."""
    arrays = {"classes": np.array(found.classes)}
    for name, part in found.parts.items():
        if not isinstance(part.images, np.ndarray):
            raise ValueError(
                "--format npz is for images that come in arrays; these are files of many sizes, leave it out"
            )
        arrays |= {f"{name}_images": part.images, f"{name}_labels": np.asarray(part.labels)}
    with _new_folder(out) as aside:
        aside.mkdir()
        np.savez_compressed(aside / ARRAYS_FILE, **arrays)


def write_pairs(found: ImageSet, out: Path, map_classes: Sequence[str]) -> None:
    """Write `OUT/images/SPLIT/*` with `OUT/annotations/SPLIT/*`, and the classes of label maps to `OUT/classes.txt`."""
    with _new_folder(out) as aside:
        for kind in ("images", "annotations"):
            for name in found.parts:
                (aside / kind / name).mkdir(parents=True)
        _write_names(map_classes, aside)
        _write_images(found, aside, lambda name, _label: aside / "images" / name)
        for name, part in found.parts.items():
            for path in part.label_maps:
                shutil.copyfile(check_regular_file(path, "label map"), aside / "annotations" / name / path.name)


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return class names as folders of any system may be called: `T-shirt/top` becomes `T-shirt_top`."""
    names = [re.sub(r"[^\w.-]+", "_", name).strip("._") for name in classes]
    for number, name in enumerate(names):
        if not name or name.casefold() in {other.casefold() for other in names[:number]}:
            raise ValueError(f"class {classes[number]!r} would have the folder {name!r}, as another class or none has")
    return names


def describe_set(found: ImageSet, published: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Return lines about what was written, and warnings of splits whose size is not the published one."""
    counts = {name: len(part.labels) for name, part in found.parts.items()}
    lines = [f"{name}: {count:,} images of {len(found.classes)} classes" for name, count in counts.items()]
    wrong = [name for name, count in counts.items() if published.get(name, count) != count]
    return lines, [f"{name}: {counts[name]:,} images, published are {published[name]:,}" for name in wrong]


def _write_images(found: ImageSet, aside: Path, folder_of: Callable[[str, int], Path]) -> None:
    total, done = sum(len(part.labels) for part in found.parts.values()), 0
    with progress_bar("writing", "images") as advance:
        for name, part in found.parts.items():
            for number, (label, image) in enumerate(zip(part.labels, part.images, strict=True)):
                folder = folder_of(name, label)
                if isinstance(image, Path):
                    shutil.copyfile(check_regular_file(image, "image"), folder / image.name)
                else:
                    (folder / f"{number:05d}.png").write_bytes(png_bytes(Image.fromarray(image)))
                done += 1
                advance(done, total)


def _write_names(names: Sequence[str], folder: Path) -> None:
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in names), "utf-8")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a name beside `out` to write to; it becomes `out` when the block ends, and goes away when the block fails.

    Raises:
        FileExistsError: There is something at `out`.
    """
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out} exists; name a new folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.tmp{uuid.uuid4().hex}")
    try:
        yield aside
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
