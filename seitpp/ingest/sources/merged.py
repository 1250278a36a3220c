"""Several sources of images as one, their classes united by name."""

import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from seitpp.ingest.sources.base import ImageSource
from seitpp.ingest.sources.files import exists, join
from seitpp.structures.class_names import partial_classes, united_classes

SEPARATOR = ","


def paths_of(path: str) -> list[str]:
    """Return the paths of sources that are joined, as in `data/a,data/b`; a path that exists as it is stands alone."""
    if SEPARATOR not in path or exists(path):
        return [path]
    return [one.strip() for one in path.split(SEPARATOR)]


class MergedSource(ImageSource):
    """The images of several sources, one source after the other, named by their paths.

    Class names are united: the same name is the same class. Sources without names keep their numbers.

    Args:
        paths: What the sources are called, all different.
        parts: The sources, all with classes, all with label maps of the same classes, or all without labels.
    """

    kind = "merged"

    def __init__(self, paths: Sequence[str], parts: Sequence[ImageSource]) -> None:
        self._paths, self.parts = list(paths), list(parts)
        if len(set(map(posixpath.normpath, self._paths))) != len(self._paths):
            raise ValueError(f"{SEPARATOR.join(paths)}: a source is named twice; name each once")
        self._ends = np.cumsum([len(part) for part in parts])
        self.folders = tuple(folder for part in parts for folder in part.folders)
        skipped: Counter[str] = Counter()
        for part in parts:
            skipped.update(part.skipped)
        self.skipped = dict(skipped.most_common())
        self.listable = all(part.listable for part in parts)
        self.names = [
            join(part.root or path, name) for path, part in zip(self._paths, parts, strict=True) for name in part.names
        ]
        kinds = [part.label_kind for part in parts]
        if len(set(kinds)) > 1:
            said = ", ".join(f"{path}: {kind}" for path, kind in zip(self._paths, kinds, strict=True))
            raise ValueError(
                f"sources of different labels cannot be joined ({said}); join labelled ones, or pass --unlabelled"
            )
        if self.parts[0].annotated:
            self._join_label_maps()
        elif self.parts[0].labels is not None:
            self._join_labels()

    def load(self, index: int, in_channels: int) -> tuple[Image.Image, int]:
        """Return an image as RGB or grey, and the bytes it takes in its source."""
        part, inner = self._at(index)
        return part.load(inner, in_channels)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        part, inner = self._at(index)
        return part.read(inner)

    def read_annotation(self, index: int) -> bytes:
        """Return the bytes of an image's label map."""
        part, inner = self._at(index)
        return part.read_annotation(inner)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "parts": [part.describe() for part in self.parts]}

    def warnings(self) -> list[str]:
        lists = [part.classes for part in self.parts if part.classes is not None]
        said = (
            partial_classes(lists, self._paths) if self.labels is not None and len(lists) == len(self.parts) else None
        )
        return [*([said] if said else []), *super().warnings()]

    def _at(self, index: int) -> tuple[ImageSource, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - int(self._ends[number] - len(self.parts[number]))

    def _join_labels(self) -> None:
        lists = [part.classes for part in self.parts]
        named = [classes for classes in lists if classes is not None]
        labels = [part.labels for part in self.parts if part.labels is not None]
        if named and len(named) < len(lists):
            path = self._paths[lists.index(None)]
            raise ValueError(
                f"{path} has class indices without names, and the other sources have names: nothing says which classes "
                "are the same. Give the names with --classes FILE"
            )
        if named:
            self.classes, numbers = united_classes(named)
            labels = [new[old] for new, old in zip(numbers, labels, strict=True)]
        self.labels = np.concatenate(labels)

    def _join_label_maps(self) -> None:
        first = self.parts[0]
        for path, part in zip(self._paths, self.parts, strict=True):
            if part.classes != first.classes or part.reduce_zero_label != first.reduce_zero_label:
                raise ValueError(
                    f"{path} and {self._paths[0]} number the classes of label maps differently (class names or "
                    "reduce_zero_label), and label maps are not renumbered; make them alike"
                )
        self.classes, self.reduce_zero_label = first.classes, first.reduce_zero_label
        self.label_maps = [path for part in self.parts for path in part.label_maps or ()]
