"""Some classes of a token store, or of an image folder; ImageNet-100 from ImageNet-1k, for one.

    python tools/dataset_converters/select_classes.py data/imagenet1k-tokens/train data/imagenet100-tokens/train \\
        --classes-list imagenet100.txt
    python tools/dataset_converters/select_classes.py data/imagenet/train data/imagenet100/train.csv \\
        --classes-list imagenet100.txt

From a store comes a store of those classes, the tokens as they are: no images and no tokenizer are needed. From a
folder of class folders comes a list for `tools/tokenize_images.py`, `train.csv`, with `classes.txt` beside it.

The list names one class per line, in any order; labels follow the sorted names. Several lists go by the name
ImageNet-100: the tool prints the SHA-256 of the sorted lines joined by newlines, 16 digits of it, says whether it is
the list of CMC (d61d354b64beb3ce, https://github.com/HobbitLong/CMC), and records it in the store.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from class_lists import (
    LabelledImages,
    describe_classes,
    describe_lists,
    images_of_classes,
    read_classes_list,
    write_image_lists,
)

from seitpp.ingest.sources import read_class_names
from seitpp.io.atomic_write import check_other_file
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import CODECS, StoreReader, is_release, select_classes
from seitpp.storage.header import HEADER_FILE


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line and fill in `from_store`; options that contradict each other end with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of a store, or of class folders with images")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the new store; or a list, NAME.csv")
    parser.add_argument(
        "--classes-list", type=Path, required=True, metavar="FILE", help="classes to keep, one per line"
    )
    only_store = parser.add_argument_group("from a store")
    only_store.add_argument(
        "--classes-file",
        type=Path,
        metavar="FILE",
        help="names of its classes in the order of their indices, if it carries none: a file, one per line, or the "
        "image folder, whose sorted sub-folders have these names",
    )
    only_store.add_argument("--codec", choices=sorted(CODECS), help="codec of the new store (default: bitpacked)")
    only_store.add_argument("--resume", action="store_true", help="continue where an interrupted run stopped")
    args = parser.parse_args(argv)
    if is_release(args.src):
        parser.error(f"{args.src} is a release file; make a store of it first, with tools/convert_store.py")
    if not args.src.is_dir():
        parser.error(f"{args.src} is no folder; expected a token store, or an image folder with one folder per class")
    args.from_store = (args.src / HEADER_FILE).is_file()
    if args.from_store:
        return args
    if args.out.suffix != ".csv":
        parser.error(f"{args.src} is no token store; from images comes a list, name OUT like train.csv")
    if args.classes_file or args.codec or args.resume:
        parser.error("--classes-file, --codec and --resume are for stores")
    return args


def select_from_store(args: argparse.Namespace, chosen: list[str]) -> str:
    """Write the new store; returns what to say of it."""
    names = None if args.classes_file is None else read_class_names(str(args.classes_file))
    with progress_bar("copying", "images") as progress:
        select_classes(
            StoreReader(args.src),
            args.out,
            chosen,
            names=names,
            codec=args.codec or "bitpacked",
            resume=args.resume,
            progress=progress,
        )
    store = StoreReader(args.out)
    return (
        f"{args.out}: {len(store)} samples, {describe_classes(chosen)}, {store.num_bytes} bytes, content hash "
        f"{store.content_hash}"
    )


def select_from_images(args: argparse.Namespace, chosen: list[str]) -> str:
    """Write the list; returns what to say of it."""
    images, skipped = images_of_classes(args.src, chosen)
    found = LabelledImages(chosen, {args.out.stem: images}, skipped)
    return describe_lists(found, args.src, write_image_lists(found, args.src, args.out.parent))


def main(argv: Sequence[str] | None = None) -> None:
    """Select the classes, and say what was written."""
    args = parse_args(argv)
    for source in (args.src, args.classes_list, args.classes_file):
        if source is not None:
            check_other_file(source, args.out)
    chosen = read_classes_list(args.classes_list)
    print((select_from_store if args.from_store else select_from_images)(args, chosen))


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
