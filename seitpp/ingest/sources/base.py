"""What every source of images offers: names in a fixed order, the bytes of each image, and labels if there are any."""

import contextlib
import hashlib
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from seitpp.images.decoding import IMAGE_SUFFIXES, MAX_PIXELS, UnreadableImageError, decode_image
from seitpp.images.label_maps import IGNORE_INDEX, read_label_indices
from seitpp.ingest.sources.files import join, local_path, read_file
from seitpp.ingest.sources.labels import LARGEST_LABEL, alike_warnings
from seitpp.io.text import shorten
from seitpp.storage.header import canonical_json

_MAPS_LOOKED_AT = 64


class ImageSource:
    """Images in a fixed order that does not depend on the file system; can be pickled and sent to workers."""

    kind: str  # such as `folder`; goes into the store's header
    names: list[str]  # one per image, unique, with forward slashes
    root = ""  # folder or URL that the names are relative to
    label_maps: list[str] | None = None  # path of each image's label map
    reduce_zero_label = False  # whether label maps mean "ignore" by 0
    labels: np.ndarray | None = None  # class index of each image, (N,), int64
    classes: list[str] | None = None  # class names in the order of their indices
    folders: tuple[str, ...] = ()  # those that were searched for images; nothing may be written into them
    max_pixels = MAX_PIXELS  # most pixels that an image or label map may have
    listable = False  # whether the names, joined to `root`, are paths of image files that a list may name
    unlabelled = False  # whether labels were to be left out
    skipped: Mapping[str, int] = MappingProxyType({})  # files not taken for images, counted by their ending
    _fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        return read_file(join(self.root, self.names[index]))

    def read_annotation(self, index: int) -> bytes:
        """Return the bytes of an image's label map; only where `annotated`."""
        return read_file(self.label_maps[index])

    @property
    def annotated(self) -> bool:
        """Whether each image has a label map."""
        return self.label_maps is not None

    def load(self, index: int, in_channels: int) -> tuple[Image.Image, int]:
        """Return an image as RGB or grey, and the bytes it takes in its source.

        Raises:
            UnreadableImageError: It cannot be decoded.
            OSError: Its file cannot be read.
        """
        content = self.read(index)
        return decode_image(content, in_channels, self.max_pixels), len(content)

    @property
    def label_kind(self) -> str:
        """Kind of labels, in the words of a store: `class`, `segmentation` or `none`."""
        return "segmentation" if self.annotated else "none" if self.labels is None else "class"

    def describe(self) -> dict[str, Any]:
        """Return the metadata for a store's header; a hash stands for the list of images."""
        return {"kind": self.kind, "num_images": len(self), "images_sha256": self.fingerprint()}

    def warnings(self) -> list[str]:
        """Say what a person may want to know before a long run, one line each."""
        lines = []
        if self.skipped:
            lines.append(
                f"files that were not taken for images, by their ending: {described_endings(self.skipped)}; name a "
                "file in a list to read it whatever its ending"
            )
        if self.label_kind == "none" and not self.unlabelled:
            lines.append("no labels were found, so the images have none; pass --unlabelled if that is meant")
        return lines + self._label_warnings() + self._label_map_warnings()

    def _label_warnings(self) -> list[str]:
        if self.labels is None or not len(self.labels):
            return []
        present, counts = np.unique(self.labels, return_counts=True)
        if len(present) == 1 and len(self) > 1:
            return [f"all {len(self)} images are of one class"]
        lines, names = alike_warnings(self.classes or []), self.classes or range(LARGEST_LABEL + 1)
        if (single := present[counts == 1]).size:
            lines.append(f"classes with a single image: {len(single)}, such as {names[single[0]]!r}")
        # Of the classes up to the largest index alone: there may be billions of indices.
        if num_absent := int(present[-1]) + 1 - len(present):
            first = next((index for index, label in enumerate(present) if index != label), len(present))
            hint = "; do the labels count from 1? Class indices count from 0" if first == 0 else ""
            lines.append(f"classes without an image: {num_absent}, such as {names[first]!r}{hint}")
        return lines

    def _label_map_warnings(self) -> list[str]:
        """Look at a few label maps, evenly spread, for values that contradict the options; skip unreadable ones."""
        if not self.annotated:
            return []
        count = min(_MAPS_LOOKED_AT, len(self))
        found: set[int] = set()
        for number in range(count):
            with contextlib.suppress(UnreadableImageError, OSError):
                content = self.read_annotation(number * len(self) // count)
                found.update(np.unique(read_label_indices(content, self.max_pixels).indices).tolist())
        looked_at = f"the {count} label maps looked at"
        if self.reduce_zero_label and found & {IGNORE_INDEX, 65535}:
            return [
                f"{looked_at} hold {max(found)} (ignore) already, as if 0 had been made ignore before; where 0 is a "
                "class, --reduce-zero-label loses it and moves all others: leave it out"
            ]
        if found == {0, IGNORE_INDEX}:
            return [
                f"{looked_at} hold 0 and 255 alone, and 255 means ignore, so that one class is left; save masks of two "
                "classes as 0 and 1"
            ]
        return []

    def fingerprint(self) -> str:
        """Return the SHA-256 over the names and labels in their order."""
        if self._fingerprint is None:
            digest = hashlib.sha256(canonical_json(self.names))
            if self.labels is not None:
                digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def refuse_inside(self, out: str) -> None:
        """Raise `ValueError` for an output folder that a later run would search for images."""
        for folder in self.folders:
            inner, outer = out, folder
            if (local_out := local_path(out)) is not None and (local_folder := local_path(folder)) is not None:
                inner, outer = os.path.realpath(local_out), os.path.realpath(local_folder)
            if f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/"):
                raise ValueError(f"{out} lies inside {folder}, where images are looked for; name a folder elsewhere")


def is_image_name(name: str) -> bool:
    """Whether a file's ending is that of an image format we read."""
    return _ending(name) in IMAGE_SUFFIXES


def count_endings(names: Iterable[str]) -> dict[str, int]:
    """Count how many names have each ending, in lower case, the most frequent first."""
    counts = Counter(_ending(name) or "(none)" for name in names)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def described_endings(counts: Mapping[str, int]) -> str:
    """Write endings and their counts as `.pdf 3, .gz 1`; the first 20."""
    return shorten([f"{ending} {count:,}" for ending, count in counts.items()], 20)


def _ending(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
