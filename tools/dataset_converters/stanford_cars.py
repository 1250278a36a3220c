"""Stanford Cars as lists for `tools/tokenize_images.py`; images stay where they are.

    python tools/dataset_converters/stanford_cars.py data/stanford-cars

ROOT holds either of the two published forms: `cars_annos.mat` and `car_ims/`; or `cars_train/`, `cars_test/` and
`devkit/`, into which `cars_test_annos_withlabels.mat` goes. Written are `train.csv` (8,144 images), `test.csv` (8,041)
and `classes.txt`, in the order of the labels.

The original download is gone. Copies that come as class folders need no list: name their `train` and `test` folders to
`tools/tokenize_images.py`. Their classes are in the order of the folders' names, which differs from that of the labels,
and the slash of one class (Ram C/V) is another sign there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from class_lists import LabelledImages, make_lists, read_mmpretrain

from seitpp.io.command_line import run_tool

WHOLE = "cars_annos.mat"
# cars_test_annos.mat of the devkit has no labels.
DEVKIT = ("devkit/cars_train_annos.mat", "devkit/cars_test_annos_withlabels.mat")
NUM_IMAGES = {"train": 8144, "test": 8041}
NUM_CLASSES = 196


def read_stanford_cars(root: str | Path) -> LabelledImages:
    """Read Stanford Cars in either form; class names are mmpretrain's, in the order of the labels."""
    files = (WHOLE,) if Path(root, WHOLE).exists() else DEVKIT
    return read_mmpretrain("StanfordCars", root, {"train": "train", "test": "test"}, files)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of cars_annos.mat, or of devkit/")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the lists (default: ROOT)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the lists."""
    args = parse_args(argv)
    make_lists(read_stanford_cars(args.root), args.root, args.out, NUM_IMAGES, NUM_CLASSES)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
