"""Pictures of label maps over what they label, with a legend."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_SHARE = 0.6  # of a class's colour in a pixel
_GAP, _LINE, _SWATCH = 4, 18, 12  # pixels between tiles, a line of the legend, its coloured square
_MIN_PIXELS = 192  # smaller pictures are enlarged, pixel by pixel


def overlay(image: Tensor, labels: Tensor, palette: Sequence[Sequence[int]]) -> Tensor:
    """Paint classes over an image (3, h, w), uint8, in their colours (RGB); nothing where there is no class (255)."""
    colours = torch.tensor(palette, dtype=torch.float32)
    labels, image = labels.cpu().long(), image.cpu().float()
    known = (labels >= 0) & (labels < len(colours))
    painted = colours[labels.where(known, 0)].permute(2, 0, 1)
    return torch.where(known, (1 - _SHARE) * image + _SHARE * painted, image).round().to(torch.uint8)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image (C, H, W), uint8, with C of 1 or 3, bilinearly, to colours (3, h, w)."""
    values = F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False, antialias=True)
    return values[0].round().clamp(0, 255).to(torch.uint8).expand(3, -1, -1)


def segmentation_picture(
    image: Tensor,
    prediction: Tensor,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    truth: Tensor | None = None,
) -> Image.Image:
    """Show an image, the truth over it if there is one, and the prediction over it, side by side above a legend.

    The image (C, H, W), uint8, C of 1 or 3, is brought to the size of the prediction, class indices (h, w), as are
    those of the truth, 255 where there is none. The palette has one colour, RGB, per class.
    """
    image = resized(image.cpu(), tuple(prediction.shape[-2:]))
    shown = [prediction] if truth is None else [truth, prediction]
    tiles = [image, *(overlay(image, labels, palette) for labels in shown)]
    zoom = max(1, -(-_MIN_PIXELS // max(image.shape[1:])))
    tiles = [tile.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2) for tile in tiles]
    strip = np.concatenate([F.pad(tile, (0, _GAP), value=255).permute(1, 2, 0).numpy() for tile in tiles], axis=1)
    present = torch.cat([labels.cpu().long().flatten() for labels in shown]).unique().tolist()
    entries = [(classes[index], tuple(palette[index])) for index in present if index < len(classes)]
    corners = _legend_corners(entries, strip.shape[1])
    legend_height = corners[-1][1] + _LINE if corners else 0
    page = Image.new("RGB", (strip.shape[1], strip.shape[0] + legend_height), "white")
    page.paste(Image.fromarray(strip))
    draw = ImageDraw.Draw(page)
    for (left, top), (name, colour) in zip(corners, entries, strict=True):
        top += strip.shape[0]
        draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=colour, outline="black")
        draw.text((left + _SWATCH + _GAP, top), name, "black", ImageFont.load_default(_SWATCH))
    return page


def _legend_corners(entries: Sequence[tuple[str, tuple]], width: int) -> list[tuple[int, int]]:
    """Place entries in lines of a width, by their upper left corners."""
    font, corners, left, top = ImageFont.load_default(_SWATCH), [], _GAP, _GAP
    for name, _colour in entries:
        needed = _SWATCH + 3 * _GAP + round(font.getlength(name))
        if left > _GAP and left + needed > width:
            left, top = _GAP, top + _LINE
        corners.append((left, top))
        left += needed
    return corners
