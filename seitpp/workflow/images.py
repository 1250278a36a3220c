"""What a folder of pictures holds: its parts, sizes, colours and classes, and which images are held out."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.images.decoding import UnreadableImageError
from seitpp.images.label_maps import IGNORE_INDEX, read_label_indices
from seitpp.images.resizing import fit_image
from seitpp.ingest import ImageSource, open_image_source
from seitpp.ingest.sources import array_splits
from seitpp.io.csv_file import write_csv
from seitpp.io.text import shorten
from seitpp.structures.indices import spread

_LOOKED_AT = 256  # images whose size and colours are looked at
_MAPS_LOOKED_AT = 2000  # label maps in which classes are looked for
_VAL_SHARE, _MOST_VAL = 0.2, 10_000
_LEAST_TRAIN = 8  # images; a batch norm, a mix of two, and k-means need some
_TRAIN_FOLDERS = ("train", "training")
_VAL_FOLDERS = ("val", "valid", "validation", "test", "testing")


@dataclass(frozen=True)
class Part:
    """Images for training or for validation, as tools/tokenize_images.py is to read them."""

    source: ImageSource
    arguments: dict[str, str]  # `source`, and where it needs them `split`, `root`
    kept: np.ndarray | None = None  # indices in `source` where a part is held out; None for all

    def __len__(self) -> int:
        return len(self.source) if self.kept is None else len(self.kept)

    @property
    def labels(self) -> np.ndarray | None:
        """Class index of each image of the part."""
        labels = self.source.labels
        return labels if labels is None or self.kept is None else labels[self.kept]


@dataclass(frozen=True)
class Pictures:
    """The images of a request: both parts, their classes, and what a sample of them looks like."""

    train: Part
    val: Part
    kind: str  # `class`, `segmentation` or `none`
    classes: list[str] | None
    sides: tuple[int, int]  # median height and width in pixels
    is_grey: bool  # all that were looked at
    num_looked_at: int
    held_out: bool  # whether the validation part was held out here
    sample: list[Image.Image] = field(repr=False)  # RGB, of the training part
    pixel_shares: np.ndarray | None = None  # (2, C), of each class, in the label maps of training and of validation


def open_pictures(source: str, val: str | None = None) -> Pictures:
    """Open images for training and for validation, and hold some out where there is no `val`.

    A folder with sub-folders such as `train` and `val` has its parts already. Otherwise a fifth of each class is held
    out, always the same images.

    Raises:
        FileNotFoundError: There is nothing at a path.
        ValueError: There are no images, too few of them, one class, or classes in the validation part alone.
    """
    splits = (None, None) if val is not None else _own_parts(source)
    whole, other = open_sources(source, val)
    held_out = other is whole
    if not held_out and (whole.root, whole.fingerprint()) == (other.root, other.fingerprint()):
        raise ValueError(
            f"--val {val} names the images that are trained on, {source}; give others, or leave it out: a fifth of "
            "each class is then held out"
        )
    train = Part(whole, _arguments(source, splits[0]))
    if held_out:
        kept = hold_out(len(whole), whole.labels)
        train = Part(whole, {}, np.setdiff1d(np.arange(len(whole)), kept))
        validation = Part(whole, {}, kept)
    else:
        validation = Part(other, _arguments(val or source, splits[1]))
    kind = whole.label_kind
    if other.label_kind != kind:
        words = {"class": "classes", "segmentation": "label maps", "none": "no labels"}
        raise ValueError(
            f"the training images in {source} have {words[kind]}, and the validation images "
            f"{'in ' + val if val else 'beside them'} have {words[other.label_kind]}; give both the same kind of labels"
        )
    classes, shares = None, None
    if kind == "class":
        classes = _check_classes(train, validation)
    elif kind == "segmentation":
        classes, shares = _map_classes(source, train, validation)
    _check_counts(source, train, validation, kind)
    numbers = spread(len(train), _LOOKED_AT)
    sample, sides = [], []
    for number in numbers:
        try:
            image, _ = whole.load(int(number if train.kept is None else train.kept[number]), 3)
        except (UnreadableImageError, OSError):
            continue  # tokenising names it
        sides.append((image.height, image.width))
        sample.append(fit_image(image, tuple(min(side, 256) for side in sides[-1])))
    if not sample:
        raise ValueError(f"none of the {len(numbers)} images of {source} that were looked at can be read")
    height, width = (int(side) for side in np.median(sides, axis=0))
    return Pictures(
        train=train,
        val=validation,
        kind=kind,
        classes=classes,
        sides=(height, width),
        is_grey=all(_is_grey(image) for image in sample),
        num_looked_at=len(sample),
        held_out=held_out,
        sample=sample,
        pixel_shares=shares,
    )


def open_sources(source: str, val: str | None = None) -> tuple[ImageSource, ImageSource]:
    """Open the images for training and for validation, one and the same source where some are to be held out."""
    splits = (None, None) if val is not None else _own_parts(source)
    whole = _open(source, splits[0])
    if val is not None:
        return whole, _open(val, None)
    return whole, whole if splits[1] is None else _open(source, splits[1])


def hold_out(count: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Return the indices, ascending, of a fifth of `count` images, of each class alike; the same every time.

    A class keeps at least one image for training.
    """
    groups = [np.arange(count)] if labels is None else [np.flatnonzero(labels == label) for label in np.unique(labels)]
    share = min(_VAL_SHARE, _MOST_VAL / max(count, 1))
    chosen = []
    for number, group in enumerate(groups):
        size = min(max(1, round(share * len(group))), len(group) - 1)
        chosen.append(np.random.default_rng([0, number]).permutation(group)[:size])
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)


def write_list(part: Part, path: Path) -> None:
    """Write the images of a part as a list that tools/tokenize_images.py reads, with class indices."""
    numbers = range(len(part.source)) if part.kept is None else part.kept
    columns = {"path": [part.source.names[number] for number in numbers]}
    if part.labels is not None:
        columns["label"] = part.labels.tolist()
    write_csv(path, list(columns), zip(*columns.values(), strict=True))


def write_links(part: Part, images: Path, annotations: Path) -> None:
    """Link to the images and label maps of a part from two folders, since a list names no label maps."""
    source = part.source
    for number in range(len(source)) if part.kept is None else part.kept:
        name = source.names[number]
        target = posixpath.join(str(source.root), name)
        ending = posixpath.splitext(source.label_maps[number])[1]
        pairs = (
            (images / name, target),
            (annotations / (posixpath.splitext(name)[0] + ending), source.label_maps[number]),
        )
        for link, file in pairs:
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(Path(file).resolve())


def _own_parts(source: str) -> tuple[str | None, str | None]:
    """Return the names of sub-folders, or of splits, for training and validation, if the source has both."""
    for folder in (Path(source, "images"), Path(source)):
        if not folder.is_dir():
            continue
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        train = next((name for name in _TRAIN_FOLDERS if name in names), None)
        val = next((name for name in _VAL_FOLDERS if name in names), None)
        if train and val and set(names) <= {*_TRAIN_FOLDERS, *_VAL_FOLDERS}:
            return train, val
    first, *others = [*array_splits(source), None]  # of idx files, .npz and the like
    return (first, others[0]) if others and others[0] else (None, None)


def _open(path: str, split: str | None) -> ImageSource:
    classes = Path(path, "classes.txt")
    annotated = Path(path, "images").is_dir() and Path(path, "annotations").is_dir()
    return open_image_source(path, split=split, classes_file=str(classes) if annotated and classes.is_file() else None)


def _arguments(path: str, split: str | None) -> dict[str, str]:
    return {"source": path, **({} if split is None else {"split": split})}


def _check_classes(train: Part, val: Part) -> list[str]:
    """Return the names of the classes; `ValueError` if there is one, or one without a training image."""
    names, present = _class_names(train)
    _, present_val = _class_names(val)
    if len(present) < 2:
        raise ValueError(
            f"all {len(train)} training images are of one class, {present[0]!r}; a classifier needs two or more: put "
            "the images of each class into a folder of its own"
        )
    if alone := [name for name in present_val if name not in present]:
        raise ValueError(
            f"classes with validation images and no training image: {shorten(alone, 5)}; the folders "
            "of both parts need the same names"
        )
    return names


def _class_names(part: Part) -> tuple[list[str], list[str]]:
    """Return the names of all classes in the order of their indices, and of those that have images."""
    names = part.source.classes or [str(index) for index in range(int(part.source.labels.max()) + 1)]
    return names, [names[label] for label in np.unique(part.labels)]


def _check_counts(source: str, train: Part, val: Part, kind: str) -> None:
    if len(val) == 0:
        raise ValueError(
            f"{source} has {len(train)} images, too few to hold any out for validation: "
            + ("each class has one; give at least two of each, better twenty" if kind == "class" else "give more")
        )
    if len(train) < _LEAST_TRAIN:
        raise ValueError(
            f"{source} has {len(train)} images to train on{f' and {len(val)} to score' if len(val) else ''}, too few; "
            f"expected at least {_LEAST_TRAIN}, and some hundred for a useful model"
        )


def _map_classes(source: str, train: Part, val: Part) -> tuple[list[str], np.ndarray]:
    """Return the names of the classes in label maps, and the share of pixels that each has in either part, (2, C)."""
    counts = np.zeros((2, IGNORE_INDEX + 1), np.int64)
    for part, found in zip((train, val), counts, strict=True):
        numbers = np.arange(len(part.source)) if part.kept is None else part.kept
        for number in numbers[spread(len(numbers), _MAPS_LOOKED_AT)]:
            try:
                values = read_label_indices(part.source.read_annotation(int(number)), part.source.max_pixels).indices
            except (UnreadableImageError, OSError):
                continue
            found += np.bincount(np.minimum(values.ravel(), IGNORE_INDEX), minlength=len(found))
    present = np.flatnonzero(counts[:, :IGNORE_INDEX].any(axis=0))
    names = train.source.classes or [f"class {index}" for index in range(int(present.max(initial=-1)) + 1)]
    if len(present) < 2:
        raise ValueError(
            f"the label maps of {source} hold {len(present)} class besides 255, which means ignore; a segmentation "
            "model needs two or more. Save masks of 0 and 255 as 0 and 1"
        )
    if int(present.max()) >= len(names):
        raise ValueError(
            f"the label maps of {source} hold class {present.max()}, but classes.txt there names {len(names)} classes "
            f"(indices 0 to {len(names) - 1})"
        )
    counts = counts[:, : len(names)]
    return list(names), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(channel) for channel in image.split())
    return bool((red == green).all() and (green == blue).all())


def distinct_patches(images: Sequence[Image.Image], size: tuple[int, int], patch: int, grey: bool) -> int:
    """Count the different patches of images that are brought to a size (height, width)."""
    found: set[bytes] = set()
    for image in images:
        pixels = np.asarray(fit_image(image.convert("L") if grey else image, size)).reshape(*size, -1)
        rows, columns = size[0] // patch, size[1] // patch
        patches = pixels.reshape(rows, patch, columns, patch, -1).swapaxes(1, 2).reshape(rows * columns, -1)
        found.update(patch.tobytes() for patch in patches)
    return len(found)
