"""How many tokens of an image differ from those of its copies: what a distance of near-duplicates stands for.

python tools/analysis_tools/token_distances.py [--patch-size 4] [--codes 256]

Square crops, 200 to 420 pixels, of the two photographs of scikit-learn, resized to 128 x 128; tokens are k-means of
their patches, fitted to the same crops. Each copy is made of the crop before it is resized. `other crops` are all
pairs.
"""

import argparse
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from seitpp.io.command_line import positive_number, run_tool
from seitpp.tokenizers import PatchKMeans

SIZE = 128


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cut(image: Image.Image, pixels: int) -> Image.Image:
    return image.crop((pixels, pixels, image.width, image.height))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 95": lambda image: jpeg(image, 95),
    "JPEG, quality 75": lambda image: jpeg(image, 75),
    "JPEG, quality 50": lambda image: jpeg(image, 50),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "1 pixel cut off at the left and the top": lambda image: cut(image, 1),
    "a twentieth cut off there": lambda image: cut(image, image.width // 20),
    "8 of 255 brighter": lambda image: image.point(lambda value: min(255, value + 8)),
}


def make_crops(count: int) -> list[Image.Image]:
    """Cut the crops, the same every time."""
    from sklearn.datasets import load_sample_images

    photos, rng, crops = load_sample_images().images, np.random.default_rng(0), []
    for number in range(count):
        photo, side = photos[number % len(photos)], int(rng.integers(200, 421))
        top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        crops.append(Image.fromarray(photo[top : top + side, left : left + side]))
    return crops


def as_batch(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return images (B, 3, H, W) in [0, 1] of the size that is tokenised."""
    resized = [np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table of copies and the share of positions at which they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch-size", type=positive_number, default=4, help="pixels per side (default: 4)")
    parser.add_argument("--codes", type=positive_number, default=256, help="(default: 256)")
    parser.add_argument("--crops", type=positive_number, default=80, help="(default: 80)")
    args = parser.parse_args(argv)
    crops = make_crops(args.crops)
    tokenizer = PatchKMeans(SIZE, args.patch_size).fit(as_batch(crops), args.codes)
    tokens = tokenizer.encode(as_batch(crops)).flatten(1)
    table = Table("copy", "median", "least", "most")

    def add(name: str, differ: torch.Tensor) -> None:
        shares = differ.float().mean(dim=1)
        table.add_row(name, *(f"{float(value):.1%}" for value in (shares.median(), shares.min(), shares.max())))

    for name, copy in COPIES.items():
        add(name, tokenizer.encode(as_batch([copy(crop) for crop in crops])).flatten(1) != tokens)
    first, second = torch.triu_indices(len(crops), len(crops), 1)
    add("other crops", tokens[first] != tokens[second])
    Console(width=100).print(table)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
