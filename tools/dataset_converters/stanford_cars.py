"""Stanford Cars as lists for `tools/tokenize_images.py`; images stay where they are.

    python tools/dataset_converters/stanford_cars.py data/stanford-cars

ROOT holds either of the two published forms: `cars_annos.mat` and `car_ims/`; or `cars_train/`, `cars_test/`, the
`devkit/` and `cars_test_annos_withlabels.mat`. Written are `train.csv` (8,144 images), `test.csv` (8,041) and
`classes.txt`, in the order of the labels.

The original download is gone. Copies that come as class folders need no list: name their `train` and `test` folders to
`tools/tokenize_images.py`. Their classes are in the order of the folders' names, which differs from that of the labels,
and the slash of one class (Ram C/V) is another sign there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seitpp.ingest.class_lists import make_lists
from seitpp.ingest.fine_grained import read_stanford_cars
from seitpp.io.command_line import run_tool

NUM_IMAGES = {"train": 8144, "test": 8041}
NUM_CLASSES = 196


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of cars_annos.mat, or of devkit/")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the lists (default: ROOT)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status, 0, or 1 after an error."""
    args = parse_args(argv)
    return make_lists(lambda: read_stanford_cars(args.root), args.root, args.out, NUM_IMAGES, NUM_CLASSES)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
