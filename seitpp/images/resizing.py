"""Resizing of 8-bit images as the projects do it whose tokenizers are here: the same pixels, to the last bit.

Codes depend on them: for 2 to 13 % of the codes another filter makes another one.
"""

from typing import Literal, get_args

import numpy as np
from PIL import Image

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


def halved(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Halve an image by a box filter as often as it stays at least as large as `size` (height, width)."""
    while image.height >= 2 * size[0] and image.width >= 2 * size[1]:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return image


def scaled(image: Image.Image, size: tuple[int, int], rule: str) -> Image.Image:
    """An RGB or grey image at exactly `size` (height, width), by a rule's last filter."""
    height, width = size
    if image.size == (width, height):
        return image
    if rule == "taming":
        import cv2  # mmcv requires it; not imported by those who do not resize so

        return Image.fromarray(cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_LINEAR))
    bilinear = rule == "enhancing-transformers"
    return image.resize((width, height), Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC)
