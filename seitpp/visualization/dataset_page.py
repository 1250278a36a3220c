"""Samples of a data set on a page and in one picture: what is stored, and what augmentations make of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from seitpp.visualization.page import HtmlPage
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid
from seitpp.visualization.token_pictures import fitted, squared

_TILE_PIXELS = 128


@dataclass
class BrowsedSample:
    """One sample of a data set.

    Attributes:
        index: In the data set.
        name: What it shows, such as its class; may be empty.
        pictures: Labels, captions and images (3, H, W) or (1, H, W), uint8: first what the data set gives, then what is
            made of it. Labels are the same for all samples; a caption says more of this one, or is empty.
    """

    index: int
    name: str = ""
    pictures: list[tuple[str, str, Tensor]] = field(default_factory=list)


def add_samples(page: HtmlPage, samples: Sequence[BrowsedSample]) -> None:
    """Show each sample below a heading of its own, its pictures beside each other."""
    for sample in samples:
        page.heading(f"{sample.index} ({sample.name})" if sample.name else str(sample.index), level=3)
        page.pictures(
            [
                (fitted(image[None], _TILE_PIXELS)[0], f"{label}: {caption}" if caption else label)
                for label, caption, image in sample.pictures
            ]
        )


def samples_picture(samples: Sequence[BrowsedSample]) -> Image.Image:
    """Return one picture with a column per sample, and a row for each of its pictures."""
    rows = []
    for row, (label, _caption, _image) in enumerate(samples[0].pictures):
        tiles = [squared(fitted(sample.pictures[row][2][None], _TILE_PIXELS)[0], _TILE_PIXELS) for sample in samples]
        rows.append(PictureRow(label, "", torch.stack(tiles)))
    return labelled_grid([PicturePanel("", rows)], titles=False)
