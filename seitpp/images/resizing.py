"""Resizing of 8-bit images as the projects do it whose tokenizers are here: the same pixels, to the last bit.

Codes depend on the filter: another one changes 2 to 13 % of them.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image

from seitpp.images.decoding import UnreadableImageError

_MAX_RESIZED_PIXELS = 2**26

ResizeRule = Literal["bicubic", "taming", "enhancing-transformers", "llamagen"]
"""Filters by the project that uses them; `bicubic` is Pillow's, with antialiasing, as SeiT resizes."""

DESCRIPTIONS: dict[str, str] = {
    "bicubic": "bicubic with antialiasing",
    "taming": "bilinear without antialiasing (OpenCV), as taming-transformers,",
    "enhancing-transformers": "bilinear with antialiasing (Pillow), as enhancing-transformers,",
    "llamagen": "halved by a box filter while twice as large, then bicubic with antialiasing, as LlamaGen,",
}


def check_resize_rule(rule: str) -> None:
    """Raise `ValueError` unless there is such a rule."""
    if rule not in get_args(ResizeRule):
        raise ValueError(f"resize is {rule!r}, expected one of {', '.join(get_args(ResizeRule))}")


def fit_image(
    image: Image.Image,
    size: tuple[int, int],
    mode: str = "exact",
    resample: Image.Resampling | None = None,
    rule: str = "bicubic",
) -> Image.Image:
    """Bring an image to `size` (height, width) as a tokenizer wants it.

    Args:
        image: The image; RGB or grey, 8 bits, for any other rule than `bicubic`.
        size: Height and width wanted.
        mode: `exact` (aspect not kept) or `center-crop` (scaled until `size` is covered, then cut from the centre).
        resample: Filter in place of the rule's; nearest for label maps.
        rule: By which filters, see `ResizeRule`.

    Raises:
        UnreadableImageError: It is so long and thin that covering `size` would take gigabytes.
    """
    height, width = size
    if mode not in ("exact", "center-crop"):
        raise ValueError(f"resize mode is {mode!r}, expected 'exact' or 'center-crop'")
    check_resize_rule(rule)
    if rule == "llamagen" and resample is None:
        image = _halved(image, size)
    rows, columns = size if mode == "exact" else cover_size((image.height, image.width), size)
    if mode != "exact" and rows * columns > _MAX_RESIZED_PIXELS:
        raise UnreadableImageError(
            f"it has {image.width} x {image.height} pixels, too long a strip to be scaled until it covers {width} x "
            f"{height}"
        )
    if image.size != (columns, rows):
        image = _scaled(image, (rows, columns), rule) if resample is None else image.resize((columns, rows), resample)
    if mode == "exact":
        return image
    left, top = (columns - width) // 2, (rows - height) // 2
    return image.crop((left, top, left + width, top + height))


def cover_size(size: Sequence[int], target: Sequence[int]) -> tuple[int, int]:
    """Return height and width of an image scaled, aspect kept, until it just covers the target."""
    scale = max(target[0] / size[0], target[1] / size[1])
    return max(target[0], round(size[0] * scale)), max(target[1], round(size[1] * scale))


def check_not_smaller_than_patch(image: Image.Image, patch: int) -> None:
    """Refuse an image that is smaller than one patch of `patch` pixels a side: enlarging it would invent content."""
    if min(image.size) < patch:
        raise UnreadableImageError(
            f"it has {image.width} x {image.height} pixels, less than one patch of {patch} x {patch}"
        )


def _halved(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Halve an image by a box filter as often as it stays at least as large as `size` (height, width)."""
    while image.height >= 2 * size[0] and image.width >= 2 * size[1]:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return image


def _scaled(image: Image.Image, size: tuple[int, int], rule: str) -> Image.Image:
    """Return an RGB or grey image at exactly `size` (height, width), by a rule's last filter."""
    height, width = size
    if rule == "taming":
        import cv2  # mmcv requires it; not imported by those who do not resize so

        return Image.fromarray(cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_LINEAR))
    bilinear = rule == "enhancing-transformers"
    return image.resize((width, height), Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC)
