"""Oxford Flowers-102 as lists for `tools/tokenize_images.py`; images stay where they are.

    python tools/dataset_converters/flowers102.py data/flowers102

ROOT holds the published files: `jpg/` (of 102flowers.tgz), `imagelabels.mat` and `setid.mat`. Written are `train.csv`
(2,040 images: trnid and valid), `test.csv` (6,149: tstid) and `classes.txt`, in the order of the labels.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seitpp.ingest.class_lists import make_lists
from seitpp.ingest.fine_grained import read_flowers102
from seitpp.io.command_line import run_tool

NUM_IMAGES = {"train": 2040, "test": 6149}
NUM_CLASSES = 102


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of jpg/, imagelabels.mat and setid.mat")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the lists (default: ROOT)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status, 0, or 1 after an error."""
    args = parse_args(argv)
    return make_lists(lambda: read_flowers102(args.root), args.root, args.out, NUM_IMAGES, NUM_CLASSES)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
