"""iNaturalist 2018 or 2019 as lists for `tools/tokenize_images.py`; images stay where they are.

    python tools/dataset_converters/inaturalist.py data/inat2018 2018 --categories data/inat2018/categories.json

ROOT holds `trainYEAR.json`, `valYEAR.json` and the images, `train_valYEAR/`. Written are `train.csv`, `val.csv` and
`classes.txt`. The names in the two files are obfuscated; the published `categories.json` has the real ones. Names that
several categories have get their id behind.

Three orders of the classes are in use, and a head trained with one is useless with another: `id`, by category id (the
default; torchvision's); `name`, by name as text, as of sorted class folders; `first`, by the first annotation in the
training file (DeiT's).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seitpp.ingest.class_lists import make_lists
from seitpp.ingest.fine_grained import ORDERS, read_inaturalist
from seitpp.io.command_line import run_tool

NUM_IMAGES = {2018: {"train": 437_513, "val": 24_426}, 2019: {"train": 265_213, "val": 3_030}}
NUM_CLASSES = {2018: 8142, 2019: 1010}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of trainYEAR.json, valYEAR.json and the images")
    parser.add_argument("year", type=int, choices=sorted(NUM_CLASSES), metavar="YEAR", help="2018 or 2019")
    parser.add_argument("--order", choices=ORDERS, default="id", help="order of the classes (default: id)")
    parser.add_argument("--categories", type=Path, metavar="FILE", help="categories.json with the real names")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the lists (default: ROOT)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status, 0, or 1 after an error."""
    args = parse_args(argv)
    status = make_lists(
        lambda: read_inaturalist(args.root, args.year, args.order, args.categories),
        args.root,
        args.out,
        NUM_IMAGES[args.year],
        NUM_CLASSES[args.year],
    )
    if status == 0:
        print(f"order of the classes: {args.order}")
    return status


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
