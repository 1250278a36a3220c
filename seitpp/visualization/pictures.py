"""Pictures of what tokenizers and augmentations do: reconstructions below originals, rows with labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from seitpp.visualization.fitted_text import fitted

_MIN_PIXELS = 96  # smaller images are shown enlarged, pixel by pixel
_GAP = 4  # white pixels between tiles
_LABEL_PIXELS, _TITLE_PIXELS = 136, 44  # width of the labels' column, height of a title with the space around it
_LINE_PIXELS = 19  # height of a line of a label
_PAGE_PIXELS = 1700  # panels stand in two columns up to this width


def reconstruction_grid(images: Tensor, decoded: Tensor) -> Image.Image:
    """Show originals (B, C, H, W), uint8, C of 1 or 3, in a row above their reconstructions."""
    zoom = max(1, _MIN_PIXELS // images.shape[-1])
    tiles = torch.cat([images, decoded]).repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    return to_pil_image(make_grid(tiles, nrow=len(images), padding=4, pad_value=255))


@dataclass(frozen=True)
class PictureRow:
    """One row of pictures (B, C, H, W), uint8, with a label beside it and a caption that says what it shows."""

    label: str
    caption: str
    images: Tensor


@dataclass(frozen=True)
class PicturePanel:
    """Rows that are compared with each other; column by column they show the same image."""

    title: str
    rows: Sequence[PictureRow]


def labelled_grid(panels: Sequence[PicturePanel], titles: bool = True) -> Image.Image:
    """Show panels with titles above and labels at the left, in two columns if the page is wide enough."""
    drawn = [_panel(panel, titles) for panel in panels]
    width = max(picture.width for picture in drawn)
    in_column = -(-len(drawn) // 2) if 2 * width <= _PAGE_PIXELS else len(drawn)
    columns = [drawn[start : start + in_column] for start in range(0, len(drawn), in_column)]
    height = max(sum(picture.height for picture in column) for column in columns)
    page = Image.new("RGB", (len(columns) * width, height), "white")
    for number, column in enumerate(columns):
        tops = accumulate((picture.height for picture in column), initial=0)
        for picture, top in zip(column, tops, strict=False):
            page.paste(picture, (number * width, top))
    return page


def _panel(panel: PicturePanel, title: bool) -> Image.Image:
    above = _TITLE_PIXELS if title else _GAP
    strips = [_strip(row.images) for row in panel.rows]
    heights = [max(strip.height, _LINE_PIXELS) for strip in strips]
    size = (_LABEL_PIXELS + strips[0].width, above + sum(height + _GAP for height in heights))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    if title:
        bold = plot_font("DejaVuSans-Bold.ttf", 18)
        draw.text((_GAP, above - 3 * _GAP), fitted(panel.title, bold, size[0] - 2 * _GAP), "black", bold, anchor="ls")
    font, top = plot_font("DejaVuSans.ttf", 14), above
    for row, strip, height in zip(panel.rows, strips, heights, strict=True):
        middle = (_LABEL_PIXELS - 2 * _GAP, top + height // 2)
        label = fitted(row.label, font, _LABEL_PIXELS - 3 * _GAP, height // _LINE_PIXELS)
        draw.multiline_text(middle, label, "black", font, anchor="rm", align="right")
        picture.paste(strip, (_LABEL_PIXELS, top))
        top += height + _GAP
    return picture


def _strip(images: Tensor) -> Image.Image:
    """Put images beside each other, enlarged if they are small, with a gap after each."""
    zoom = -(-_MIN_PIXELS // images.shape[-1])  # rounded up
    tiles = images.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    padded = F.pad(tiles, (0, _GAP), value=255)  # (B, C, H, W + gap)
    strip = padded.permute(1, 2, 0, 3).flatten(2)
    return to_pil_image(strip.expand(3, -1, -1))


def plot_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font that comes with matplotlib: the same picture on every machine."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
