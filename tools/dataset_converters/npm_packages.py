"""What converters of npm packages share: PACKAGE and OUT, how many images, how they are written and what is said."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_sets import ImageSet, describe_set, write_arrays, write_class_folders

from seitpp.io.command_line import positive_number


def package_parser(description: str, package: str, per_class: Sequence[int]) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        description: Docstring of the tool.
        package: Help for PACKAGE.
        per_class: Training and validation images of each class in the package.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, metavar="PACKAGE", help=package)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, new")
    parser.add_argument("--format", choices=("png", "npz"), default="png", help="of the images (default: png)")
    parser.add_argument(
        "--per-class",
        type=positive_number,
        nargs=2,
        metavar=("TRAIN", "VAL"),
        help=f"take the first so many images of each class (default: {per_class[0]} {per_class[1]}, all)",
    )
    return parser


def images_wanted(args: argparse.Namespace) -> dict[str, int | None]:
    """Return the most images of each class by split; None for all."""
    return dict(zip(("train", "val"), args.per_class or (None, None), strict=True))


def write_set(found: ImageSet, args: argparse.Namespace, published: Mapping[str, int]) -> None:
    """Write the images to OUT, and say how many each split has; warn where all were wanted and some are missing."""
    (write_arrays if args.format == "npz" else write_class_folders)(found, args.out)
    lines, warnings = describe_set(found, {} if args.per_class else published)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    print("\n".join(lines))
