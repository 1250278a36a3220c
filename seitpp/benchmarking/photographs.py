"""JPEG files to time pipelines of images with: crops of the two photographs that scikit-learn ships."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(folder: Path, count: int, size: tuple[int, int] = (375, 500), quality: int = 95) -> list[Path]:
    """Write crops of a size (height, width; at most 427 x 640), the same every time, and return their files.

    The defaults make them as large as most of ImageNet's, with nearly as many bytes (110 kB on average).
    """
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    rng, photos = np.random.default_rng(0), load_sample_images().images
    paths = []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (rng.integers(0, side - kept + 1) for side, kept in zip(photo.shape[:2], size, strict=True))
        content = io.BytesIO()
        Image.fromarray(photo[top : top + size[0], left : left + size[1]]).save(content, "JPEG", quality=quality)
        paths.append(folder / f"{number:05d}.jpg")
        paths[-1].write_bytes(content.getvalue())
    return paths
