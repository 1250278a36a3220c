"""Oxford Flowers-102 as lists for `tools/tokenize_images.py`; images stay where they are.

    python tools/dataset_converters/flowers102.py data/flowers102

ROOT holds the published files: `jpg/` (of 102flowers.tgz), `imagelabels.mat` and `setid.mat`. Written are `train.csv`
(2,040 images: trnid and valid), `test.csv` (6,149: tstid) and `classes.txt`, in the order of the labels.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torchvision
from class_lists import LabelledImages, make_lists, read_mmpretrain

from seitpp.io.command_line import run_tool

FILES = ("imagelabels.mat", "setid.mat")
SPLITS = {"train": "trainval", "test": "test"}
NUM_IMAGES = {"train": 2040, "test": 6149}
NUM_CLASSES = 102


def read_flowers102(root: str | Path, splits: Mapping[str, str] = SPLITS) -> LabelledImages:
    """Read Oxford Flowers-102; class names are torchvision's, in the order of the labels.

    Args:
        root: Folder of the published files.
        splits: mmpretrain's name of each split, by ours; `train` and `test` are among them.
    """
    classes = getattr(torchvision.datasets.Flowers102, "classes", None)
    if classes is None:
        raise ValueError(f"torchvision {torchvision.__version__} has no class names of Flowers-102; update it to 0.22")
    found = read_mmpretrain("Flowers102", root, splits, FILES, classes)
    sizes = {split: len(images) for split, images in found.images.items()}
    if sizes["test"] <= sizes["train"]:
        raise ValueError(
            f"{Path(root, FILES[1])}: trnid and valid name {sizes['train']} images, tstid {sizes['test']}; expected "
            "tstid to be the largest (published: 1,020 + 1,020 and 6,149). Test and training images are swapped in "
            "some copies, take the published file"
        )
    return found


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of jpg/, imagelabels.mat and setid.mat")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the lists (default: ROOT)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the lists."""
    args = parse_args(argv)
    make_lists(read_flowers102(args.root), args.root, args.out, NUM_IMAGES, NUM_CLASSES)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
