"""Hold a part of the training images out of training, to choose settings on: the last N of each class.

    python tools/dataset_converters/hold_out.py data/fashion-mnist data/study --last 1000

reads SOURCE/train/CLASS/* and SOURCE/val/CLASS/* and writes, in a new folder, OUT/train, OUT/val with the last N
training images of each class in the order of their names, and OUT/test with SOURCE/val. Files are copied as they are.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from image_sets import ImageSet, Part, describe_set, write_class_folders

from seitpp.ingest.sources.base import is_image_name
from seitpp.io.command_line import run_tool


def read_folders(folder: Path, first: int | None = None) -> dict[str, list[Path]]:
    """Return the images of each class folder by the class's name, both in alphabetical order; at most `first` each."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected one folder of images per class in it")
    found = {
        inner.name: sorted(path for path in inner.iterdir() if is_image_name(path.name))[:first]
        for inner in sorted(folder.iterdir())
        if inner.is_dir()
    }
    if not found:
        raise ValueError(f"{folder} has no folders of classes")
    return found


def hold_out(train: dict[str, list[Path]], test: dict[str, list[Path]], last: int) -> ImageSet:
    """Return three splits of class folders: training without the last images of each class, these, and the test."""
    if sorted(train) != sorted(test):
        raise ValueError(f"classes differ: train has {', '.join(train)}, val has {', '.join(test)}")
    for name, paths in train.items():
        if not 0 < last < len(paths):
            raise ValueError(
                f"--last {last}: class {name} has {len(paths)} training images; expected 1 or more to stay"
            )
    classes = list(train)
    splits = {
        "train": {name: paths[:-last] for name, paths in train.items()},
        "val": {name: paths[-last:] for name, paths in train.items()},
        "test": test,
    }
    return ImageSet(classes, {name: _part(classes, found) for name, found in splits.items()})


def _part(classes: Sequence[str], found: dict[str, list[Path]]) -> Part:
    labels = [label for label, name in enumerate(classes) for _ in found[name]]
    return Part(labels, [path for name in classes for path in found[name]])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, new")
    parser.add_argument("--last", type=int, required=True, metavar="N", help="images of each class to hold out")
    parser.add_argument(
        "--first", type=int, metavar="M", help="take the first M images of each class of both splits alone, and no more"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Split, write, and say how many images each split has."""
    args = parse_args(argv)
    found = hold_out(
        read_folders(args.source / "train", args.first), read_folders(args.source / "val", args.first), args.last
    )
    write_class_folders(found, args.out)
    print("\n".join(describe_set(found, {})[0]))


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
