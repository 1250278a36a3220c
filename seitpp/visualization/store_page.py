"""A page about a token store: what it holds, and its samples by class or with their label maps.

`seitpp.visualization.store_codes` adds the use of codes, `seitpp.visualization.store_duplicates` what occurs twice.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from seitpp.images.label_maps import (
    IGNORE_INDEX,
    checked_labels,
    distinct_colours,
    label_histogram,
    label_map_metadata,
    label_map_path,
    read_label_map,
)
from seitpp.io.progress import progress_bar
from seitpp.io.text import cut, shorten
from seitpp.storage import StoreReader
from seitpp.structures.indices import spread
from seitpp.visualization.label_pictures import class_colours, overlay, resized
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.token_pictures import TokenPictures, fitted, side_by_side

TILE_PIXELS = 96
_MOST_CLASSES, _MOST_TILES, _MOST_IN_ROW = 1000, 300, 5  # classes with pictures; pictures in all, and of one class
_NAMED_BARS, _NAME_CHARACTERS = 40, 20  # classes whose names stand below their bars, and how much of them
_UNLABELLED, _SEGMENTED = 48, 24
_LABEL_MAPS_COUNTED = 2000
_READ_TOGETHER = 64


class StorePage:
    """A store on a page.

    Args:
        page: To write on.
        reader: Of the store.
        pictures: Makes pictures of its tokens.
        name: What to call it.
    """

    def __init__(self, page: HtmlPage, reader: StoreReader, pictures: TokenPictures, name: str) -> None:
        self.page, self.reader, self.pictures, self.name = page, reader, pictures, name
        self.labels = reader.labels
        self._seen: dict[int, Tensor] = {}

    def summary(self) -> list[str]:
        """Return what the store holds, a value for each of `SUMMARY`."""
        reader = self.reader
        tokenizer = reader.header["tokenizer"]
        integers = "1 code" if reader.channels is None else f"{reader.channels} integers"
        return [
            f"{len(reader):,}",
            f"{reader.grid[0]} x {reader.grid[1]} positions of {integers}",
            f"{reader.codebook_size:,}",
            f"{reader.num_bytes / len(reader):,.1f}",
            f"{reader.num_bytes:,}",
            reader.header["labels"]["kind"],
            "not named" if not reader.classes else f"{len(reader.classes):,}",
            str(tokenizer.get("type") or tokenizer.get("name") or "unknown"),
        ]

    def add_samples(self) -> None:
        """Show samples: of each class, with label maps over them, or any."""
        if self.reader.header["labels"]["kind"] == "segmentation":
            self._add_label_maps()
        elif self.labels is not None:
            self._add_classes(self.labels)
        else:
            self.page.heading("Images")
            self.page.paragraph("The store has no labels. These images are spread evenly over it.")
            self.add_rows([[number] for number in spread(len(self.reader), _UNLABELLED)], lambda row: str(row[0]))

    def _add_classes(self, labels: np.ndarray) -> None:
        counts = np.bincount(labels, minlength=len(self.reader.classes or []))
        shown, empty = np.flatnonzero(counts), np.flatnonzero(counts == 0)
        filled = counts[shown]
        self.page.heading("Classes")
        lacking = f"; without any: {len(empty):,} ({shorten(map(self.class_name, empty))})" if len(empty) else ""
        self.page.paragraph(
            f"Classes with images: {len(shown):,}{lacking}. Images of a class: {filled.min():,} to {filled.max():,}, "
            f"median {np.median(filled):,.0f}."
        )
        self.page.picture(self._bars(counts), alt="Images of each class")
        order = np.argsort(labels, kind="stable")
        starts = np.cumsum(counts) - counts
        if len(shown) > _MOST_CLASSES:
            self.page.paragraph(f"{_MOST_CLASSES:,} of the classes, evenly spread over their order, are shown.")
            shown = shown[spread(len(shown), _MOST_CLASSES)]
        each = int(np.clip(_MOST_TILES // len(shown), 1, _MOST_IN_ROW))
        rows = [[int(order[starts[one] + at]) for at in spread(counts[one], each)] for one in shown]
        self.add_rows(rows, lambda row: f"{self.class_name(labels[row[0]])}: {counts[labels[row[0]]]:,}")

    def _bars(self, counts: np.ndarray) -> Figure:
        named = len(counts) <= _NAMED_BARS
        figure = Figure(figsize=(9, 3))
        axes = figure.add_subplot()
        axes.bar(range(len(counts)), counts if named else np.sort(counts)[::-1], width=0.8 if named else 1.0)
        axes.set_ylabel("images")
        if named:
            names = [cut(self.class_name(one), _NAME_CHARACTERS) for one in range(len(counts))]
            axes.set_xticks(range(len(counts)), names, rotation=45, ha="right", parse_math=False)
        else:
            axes.set_xlabel("classes, the largest first")
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def _add_label_maps(self) -> None:
        reader = self.reader
        self.page.heading("Images and label maps")
        counted = spread(len(reader), _LABEL_MAPS_COUNTED)
        with progress_bar("counting labels", unit="label maps") as progress:
            found = label_histogram(reader, progress, counted)
        num_classes = min(max((entry["class"] + 1 for entry in found["classes"]), default=1), IGNORE_INDEX)
        palette, shifted = distinct_colours(num_classes), label_map_metadata(reader).get("reduce_zero_label", False)
        names = [self.class_name(index) for index in range(num_classes)]
        self.page.pictures(class_colours(names, palette))
        chosen, entries = spread(len(reader), _SEGMENTED), []
        for number, image in zip(chosen, self.pictures.images(reader.read(chosen)), strict=True):
            path = label_map_path(reader.path, number)
            labels = checked_labels(read_label_map(path, reader.read_label_map(number)), num_classes, path, shifted)
            large = resized(image, tuple(labels.shape))
            both = torch.stack([large, overlay(large, torch.from_numpy(labels), palette)])
            entries.append((side_by_side(fitted(both, 2 * TILE_PIXELS)), str(number)))
        self.page.pictures(entries, lossy=self.is_photographic)
        of = "" if len(counted) == len(reader) else f" in {len(counted):,} label maps, evenly spread"
        self.page.paragraph(f"Pixels of each class{of}; {found['ignored_share']:.2%} of all pixels are ignored.")
        self.page.table(
            ["class", "name", "pixels", "share", "images"],
            [
                (str(row["class"]), row["name"], row["pixels"], f"{row['share']:.2%}", row["images"])
                for row in found["classes"]
            ],
        )

    def add_rows(self, rows: Sequence[Sequence[int]], caption: Callable[[Sequence[int]], str]) -> None:
        """Show rows of samples, each as one picture with a caption."""
        images = self.tiles([number for row in rows for number in row])
        done, entries = 0, []
        for row in rows:
            entries.append((side_by_side(images[done : done + len(row)]), caption(row)))
            done += len(row)
        self.page.pictures(entries, lossy=self.is_photographic)

    def tiles(self, samples: Sequence[int]) -> Tensor:
        """Return pictures of samples (n, 3, H, W) of about the size of a tile."""
        parts = []
        for start in range(0, len(samples), _READ_TOGETHER):
            images = self.pictures.images(self.reader.read(samples[start : start + _READ_TOGETHER]))
            parts.append(fitted(images, TILE_PIXELS).expand(-1, 3, -1, -1))
        return torch.cat(parts)

    def image(self, sample: int) -> Tensor:
        """Return the picture of one sample (3, H, W), which is kept."""
        if sample not in self._seen:
            self._seen[sample] = self.pictures.images(self.reader.read([sample]))[0].expand(3, -1, -1)
        return self._seen[sample]

    @property
    def is_photographic(self) -> bool:
        """Whether pictures have so many pixels that JPEG is smaller and nobody sees it."""
        return self.pictures.decodes and max(self.pictures.tokenizer.image_size) >= TILE_PIXELS

    def class_name(self, index: int) -> str:
        classes = self.reader.classes
        return classes[index] if classes is not None and index < len(classes) else f"class {index}"

    def class_of(self, sample: int) -> str | None:
        """Return the name of a sample's class; None without labels."""
        return None if self.labels is None else self.class_name(int(self.labels[sample]))


SUMMARY = (
    *("images", "an image has", "codes, or values of an integer", "bytes per image", "bytes in all", "labels"),
    *("classes", "tokenizer"),
)


def add_summary(page: HtmlPage, stores: Sequence[StorePage]) -> None:
    """Add a table of what stores hold, and say what their pictures show."""
    rows = zip(SUMMARY, *(store.summary() for store in stores), strict=True)
    page.table(["", *(store.name for store in stores)], rows)
    for note in dict.fromkeys(store.pictures.note for store in stores):
        page.paragraph(note)
