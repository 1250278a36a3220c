"""What the steps of a method make of a few images: a column per step, from left to right, with arrows between."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from seitpp.visualization.pictures import PictureRow, plot_font
from seitpp.visualization.token_pictures import fitted as resized

_TILE_PIXELS = 112
_GAP, _ARROW_PIXELS = 4, 28
_TITLE_PIXELS, _NOTE_PIXELS = 15, 13  # sizes of the fonts
_GREY = "#666666"
_LINE = 1.35  # height of a line, in sizes of the font


def step_picture(steps: Sequence[PictureRow]) -> Image.Image:
    """Draw steps as columns of the same images, the label above each column and the caption below.

    Args:
        steps: Pictures (B, C, H, W), uint8, of each step; those of the first set the size, others are brought to it.

    Raises:
        ValueError: Steps have different numbers of images, or there are none.
    """
    counts = {len(step.images) for step in steps}
    if len(counts) != 1:
        raise ValueError(f"steps have {sorted(counts)} images, expected as many in each, and at least one step")
    height, width = resized(steps[0].images[:1], _TILE_PIXELS).shape[-2:]
    tiles = [torch.nn.functional.interpolate(step.images, (height, width), mode="nearest-exact") for step in steps]
    above = round(_lines([step.label for step in steps]) * _TITLE_PIXELS * _LINE) + 2 * _GAP
    below = round(_lines([step.caption for step in steps]) * _NOTE_PIXELS * _LINE) + 2 * _GAP
    (count,) = counts
    size = (len(steps) * (width + _ARROW_PIXELS) - _ARROW_PIXELS + 2 * _GAP, above + count * (height + _GAP) + below)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    title, note = plot_font("DejaVuSans-Bold.ttf", _TITLE_PIXELS), plot_font("DejaVuSans.ttf", _NOTE_PIXELS)
    for number, (step, images) in enumerate(zip(steps, tiles, strict=True)):
        left = _GAP + number * (width + _ARROW_PIXELS)
        middle = left + width // 2
        draw.multiline_text((middle, above - 2 * _GAP), step.label, "black", title, anchor="md", align="center")
        draw.multiline_text((middle, size[1] - below + _GAP), step.caption, _GREY, note, anchor="ma", align="center")
        picture.paste(_column(images), (left, above))
        if number:
            _draw_arrow(draw, left, above + (count * (height + _GAP) - _GAP) // 2)
    return picture


def _lines(texts: Sequence[str]) -> int:
    return max(text.count("\n") + bool(text) for text in texts)


def _column(images: Tensor) -> Image.Image:
    padded = torch.nn.functional.pad(images.expand(-1, 3, -1, -1), (0, 0, 0, _GAP), value=255)
    return to_pil_image(padded.permute(1, 0, 2, 3).flatten(1, 2))


def _draw_arrow(draw: ImageDraw.ImageDraw, left: int, middle: int) -> None:
    """Draw an arrow that ends before the column at `left`."""
    start, end = left - _ARROW_PIXELS + 6, left - 6
    draw.line([(start, middle), (end - 4, middle)], _GREY, 2)
    draw.polygon([(end, middle), (end - 8, middle - 5), (end - 8, middle + 5)], _GREY)
