"""Images of a robustness set, with the model's classes that are right for each of its labels."""

from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np
from PIL import Image

from seitpp.ingest.sources.base import ImageSource
from seitpp.io.text import shorten


class BenchmarkSource(ImageSource):
    """A source whose `labels` are indices into `classes`, the set's own class names, and into `label_sets` beside them.

    Args:
        part: The images, with labels.
        label_sets: The model's indices that are right for each of the set's classes, by its name.
        kind: Name of the set.
        convention: The rule, in a few words for tables.
        num_expected: Images that the whole set has, where it is known.
        border: Pixels to cut on each side of an image.
        remarks: What a reader of the score should know.
        num_left_out: Images in folders that the rule leaves out.

    Attributes:
        model_classes: Names of the model's classes in the order of its indices; None where they are not known.
    """

    model_classes: list[str] | None = None

    def __init__(
        self,
        part: ImageSource,
        label_sets: Mapping[str, tuple[int, ...]],
        *,
        kind: str,
        convention: str,
        num_expected: int | None = None,
        border: int = 0,
        remarks: Sequence[str] = (),
        num_left_out: int = 0,
    ) -> None:
        self.part, self.kind, self.convention, self.border = part, kind, convention, border
        self.names, self.root, self.folders = part.names, part.root, part.folders
        self.skipped, self.listable, self.max_pixels = part.skipped, part.listable, part.max_pixels
        self.classes, self.label_sets = list(label_sets), list(label_sets.values())
        self.labels = _renumbered(part, self.classes)
        self.num_expected, self.num_left_out, self.remarks = num_expected, num_left_out, list(remarks)
        if num_expected is not None and len(self) != num_expected:
            self.remarks.append(f"{len(self):,} images, expected {num_expected:,}")

    def load(self, index: int, in_channels: int) -> tuple[Image.Image, int]:
        """Return an image as RGB or grey, and the bytes it takes in its source."""
        return self.part.load(index, in_channels)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        return self.part.read(index)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "part": self.part.describe()}

    def warnings(self) -> list[str]:
        return [*self.remarks, *super().warnings()]


def class_names_of(source: ImageSource, where: str) -> list[str] | None:
    """Return the names of the classes that have images, in the source's order; None where labels are bare numbers.

    Raises:
        ValueError: The images have no class.
    """
    if source.annotated or source.labels is None:
        raise ValueError(f"{where} holds images without a class; expected a folder per class, or a list with classes")
    if source.classes is None:
        return None
    return [source.classes[label] for label in np.unique(source.labels)]


def check_classes(source: ImageSource, where: str, expected: Sequence[str], *, subset: bool) -> list[str]:
    """Compare the classes of a source that names them with those that belong there; return remarks on missing ones.

    Args:
        source: The images.
        where: What messages call them.
        expected: Names of the classes.
        subset: Whether classes may be missing, which is a remark then.

    Raises:
        ValueError: Classes are missing or not expected.
    """
    found, known = class_names_of(source, where) or (), set(expected)
    missing, extra = sorted(known.difference(found)), [name for name in found if name not in known]
    allowed = subset and len(missing) < len(known)
    if extra or (missing and not allowed):
        problems = {"missing": [] if allowed else missing, "not expected": extra}
        said = "; ".join(f"{len(names)} {what} ({_shown(names)})" for what, names in problems.items() if names)
        part = ", or declare it a part of the classes (subset=True)" if missing and not subset else ""
        raise ValueError(
            f"{where}: of its class folders, {said}. Folders belong to the model's classes by name; "
            f"complete or rename them{part}"
            f"{_hint(source, missing, extra)}"
        )
    return [f"{len(missing)} of {len(known)} classes have no images: {_shown(missing)}"] if missing else []


def _hint(source: ImageSource, missing: Sequence[str], extra: Sequence[str]) -> str:
    """Say what may be wrong: names in other bytes, or class folders one level down, as in ImageNet-C's `blur/3`."""
    if {normalize("NFC", name) for name in missing} & {normalize("NFC", name) for name in extra}:
        return ". Some names differ in the Unicode form of their letters alone (NFC, NFD): rename these folders"
    parts = [name.split("/", 2) for name in source.names if name.count("/") >= 2]
    above = sorted({first for first, second, _ in parts if second in missing and first in extra})
    return f". Folders of classes lie in {_shown(above)}: name one of these" if above else ""


def _renumbered(source: ImageSource, classes: Sequence[str]) -> np.ndarray:
    """Return labels as indices into `classes`, of a source that names its classes; others stay as they are."""
    if source.classes is None or source.classes == classes:
        return source.labels
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index.get(name, -1) for name in source.classes], np.int64)[source.labels]


def _shown(names: Sequence[str]) -> str:
    return shorten(map(repr, names))
