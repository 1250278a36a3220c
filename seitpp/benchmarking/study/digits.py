"""Scikit-learn's handwritten digits as a small set of images, which needs no download: to see that the study runs."""

import shutil
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

_TEST_EVERY = 5  # the share of the test images


def write_digits(folder: Path, pixels: int, channels: int) -> None:
    """Write the 1,797 digits as `train/CLASS/*.png` and `val/CLASS/*.png`, a fifth of them in `val`; all or nothing.

    Args:
        folder: A new folder; one that is there stays as it is.
        pixels: Side of the images, which are enlarged from 8 x 8.
        channels: 1 for grey images, 3 for the same grey in three colours.
    """
    from sklearn.datasets import load_digits

    if folder.is_dir():
        return
    aside = folder.with_name(f".{folder.name}.tmp{uuid.uuid4().hex}")
    digits = load_digits()
    try:
        for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            place = aside / ("train" if number % _TEST_EVERY else "val") / f"digit-{label}"
            place.mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray((image * (255 / 16)).round().astype(np.uint8))
            grey = grey.resize((pixels, pixels), Image.Resampling.BICUBIC)
            (grey if channels == 1 else grey.convert("RGB")).save(place / f"{number:04d}.png")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
