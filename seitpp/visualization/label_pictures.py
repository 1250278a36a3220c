"""Pictures of label maps over what they label, with outlines and a legend that gives each class its share."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seitpp.visualization.fitted_text import fitted

OPACITY = 0.5
"""Share of a class's colour in a pixel, by default."""
_GAP, _LINE, _SWATCH = 4, 18, 12  # pixels between tiles, a line of the legend, its coloured square
_STRIP = (16, 96)  # pixels of a class's colour on a page
_MIN_PIXELS = 192  # smaller pictures are enlarged, pixel by pixel
_LEGIBLE_WIDTH = 1000  # pages this wide have a legend of those sizes, wider ones a larger one


def check_opacity(opacity: float) -> float:
    """Return a share of colour; raise `ValueError` for a number outside [0, 1]."""
    if isinstance(opacity, bool) or not isinstance(opacity, (int, float)) or not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity!r}, expected a number from 0 (the image alone) to 1 (colours alone)")
    return opacity


def overlay(image: Tensor, labels: Tensor, palette: Sequence[Sequence[int]], opacity: float = OPACITY) -> Tensor:
    """Paint classes over an image (3, h, w), uint8, in their colours (RGB); nothing where there is no class (255)."""
    colours = torch.tensor(palette, dtype=torch.float32)
    labels, image = labels.cpu().long(), image.cpu().float()
    known = (labels >= 0) & (labels < len(colours))
    painted = colours[labels.where(known, 0)].permute(2, 0, 1)
    return torch.where(known, (1 - opacity) * image + opacity * painted, image).round().to(torch.uint8)


def outlined(image: Tensor, labels: Tensor, palette: Sequence[Sequence[int]], width: int = 1) -> Tensor:
    """Draw the border of each class into an image (3, h, w), uint8, in its colour and `width` pixels wide."""
    if 0 in labels.shape:
        return image
    values = labels.cpu().float()[None, None]
    padded = F.pad(values, (width,) * 4, mode="replicate")
    largest, smallest = (sign * F.max_pool2d(sign * padded, 2 * width + 1, 1)[0, 0] for sign in (1, -1))
    return torch.where(largest != smallest, overlay(image, labels, palette, 1.0), image)


def class_colours(classes: Sequence[str], palette: Sequence[Sequence[int]], most: int = 60) -> list[tuple[Tensor, str]]:
    """Return a legend for a page: strips (3, h, w), uint8, in the colours of the first classes, with their names."""
    strip = torch.ones(3, *_STRIP, dtype=torch.uint8)
    colours = torch.tensor(palette[:most], dtype=torch.uint8)
    return [(strip * colour[:, None, None], name) for colour, name in zip(colours, classes, strict=False)]


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
    opacity: float = OPACITY,
) -> Image.Image:
    """Show an image, the truth over it if there is one, and the prediction over it, side by side above a legend.

    The image (C, H, W), uint8, C of 1 or 3, is brought to the size of the prediction, class indices (h, w), as are
    those of the truth, 255 where there is none. The palette has one colour, RGB, per class. Colours let the image
    through (`opacity`), borders of classes are lines of the full colour, and the legend gives the prediction's shares.
    """
    image = resized(image.cpu(), tuple(prediction.shape[-2:]))
    shown = [labels.cpu().long() for labels in ([prediction] if truth is None else [truth, prediction])]
    zoom = max(1, -(-_MIN_PIXELS // max(image.shape[1:])))
    image, *shown = (tile.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2) for tile in (image, *shown))
    line = max(1, max(image.shape[1:]) // 500)
    painted = [outlined(overlay(image, labels, palette, opacity), labels, palette, line) for labels in shown]
    tiles = [F.pad(tile, (0, _GAP), value=255).permute(1, 2, 0).numpy() for tile in (image, *painted)]
    strip = Image.fromarray(np.concatenate(tiles, axis=1))
    return _with_legend(strip, _legend_entries(shown, classes, palette))


def _legend_entries(
    shown: Sequence[Tensor], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[tuple[str, tuple]]:
    """Return name with share, and colour, of each class that is shown; the last of the maps is the prediction."""
    shares = torch.bincount(shown[-1].flatten(), minlength=len(classes)) / max(shown[-1].numel(), 1)
    present = torch.cat([labels.flatten() for labels in shown]).unique().tolist()
    return [
        (f"{shares[index]:.1%} {classes[index]}", tuple(palette[index])) for index in present if index < len(classes)
    ]


def _with_legend(strip: Image.Image, entries: Sequence[tuple[str, tuple]]) -> Image.Image:
    scale = max(1, round(strip.width / _LEGIBLE_WIDTH))
    font, gap, swatch = ImageFont.load_default(_SWATCH * scale), _GAP * scale, _SWATCH * scale
    entries = [(fitted(name, font, strip.width - swatch - 3 * gap), colour) for name, colour in entries]
    corners, left, top = [], gap, gap
    for name, _colour in entries:
        needed = swatch + 3 * gap + round(font.getlength(name))
        if left > gap and left + needed > strip.width:
            left, top = gap, top + _LINE * scale
        corners.append((left, top))
        left += needed
    page = Image.new("RGB", (strip.width, strip.height + (top + _LINE * scale if entries else 0)), "white")
    page.paste(strip)
    draw = ImageDraw.Draw(page)
    for (left, top), (name, colour) in zip(corners, entries, strict=True):
        top += strip.height
        draw.rectangle((left, top, left + swatch, top + swatch), fill=colour, outline="black")
        draw.text((left + swatch + gap, top), name, "black", font)
    return page
