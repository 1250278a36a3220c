"""Make smaller image sets, the pixel baselines of SeiT++'s Table 1: fewer images, JPEG of low quality, fewer pixels.

    python tools/dataset_converters/shrink_images.py data/imagenet data/imagenet-40pct --split train --fraction 0.4
    python tools/dataset_converters/shrink_images.py data/imagenet data/imagenet-jpeg5 --split train --jpeg-quality 5
    python tools/dataset_converters/shrink_images.py data/imagenet data/imagenet-x0.2 --split train --scale 0.2

SOURCE is a folder of class folders, or anything else that tools/tokenize_images.py reads. OUT gets class folders, below
a folder for each --split, and `shrink.json` beside them with counts and bytes. Chosen images are copied byte for byte;
others become JPEG, upright, colours at half the rows and columns. The options may be combined. A run that was killed
continues when it is started again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest.shrink import MANIFEST, Shrinking, Shrunken, shrink_images, warnings_of
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.ingest.sources.files import is_url
from seitpp.ingest.sources.merged import paths_of
from seitpp.io.command_line import counted_number, positive_number, run_tool
from seitpp.io.progress import progress_bar
from seitpp.io.text import shorten


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", help="images; a path or a URL that fsspec knows")
    parser.add_argument("out", metavar="OUT", help="folder of the result on this machine, new or unfinished")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--fraction", type=float, metavar="F", help="take this share of the images at random")
    part.add_argument("--images", type=positive_number, metavar="N", help="take this number of images at random")
    parser.add_argument(
        "--seed",
        type=counted_number,
        default=0,
        help="of the draw (default: 0, by which tools/train.py --fraction draws the same images of a token store)",
    )
    parser.add_argument(
        "--jpeg-quality", type=positive_number, metavar="Q", help="write JPEG of this quality, 1 to 100"
    )
    parser.add_argument(
        "--scale", type=float, metavar="S", help="factor of height and width (bicubic, antialiased; JPEG quality 75)"
    )
    parser.add_argument("--split", nargs="+", default=[], help="sub-folders of the source, or splits of a config")
    parser.add_argument("--root", help="folder of the paths in a list (default: that of the list)")
    parser.add_argument("--classes", metavar="FILE", help="class names, one per line, in the order of their indices")
    parser.add_argument(
        "--on-error", choices=["skip", "fail"], default="skip", help="leave out images that cannot be read, or stop"
    )
    parser.add_argument(
        "--max-pixels",
        type=positive_number,
        default=MAX_PIXELS,
        metavar="N",
        help=f"leave out images of more pixels (default: {MAX_PIXELS:,})",
    )
    parser.add_argument("--workers", type=counted_number, default=2, help="processes (default: 2; 0: this one)")
    args = parser.parse_args(argv)
    for number, split in enumerate(args.split):
        if split in args.split[:number] or split in ("", ".", "..") or "/" in split:
            parser.error(f"--split {split!r} names a folder in OUT: expected plain names, each once")
    if is_url(args.out):
        parser.error(f"{args.out} is a URL; expected a folder on this machine")
    return args


def open_split(args: argparse.Namespace, split: str | None) -> ImageSource:
    """Open the images of a split, or of the whole source."""
    for path in paths_of(args.source):
        if Path(args.out).resolve().is_relative_to(Path(path).resolve()):
            raise ValueError(f"{args.out} lies in {path}, which is read; name a folder elsewhere")
    return open_image_source(
        args.source, split=split, root=args.root, classes_file=args.classes, max_pixels=args.max_pixels
    )


def show(result: Shrunken, out: Path) -> None:
    """Print counts and bytes, then what was left out."""
    share = result.num_bytes / result.source_bytes if result.source_bytes else None
    table = Table(show_header=False)
    for name, value in (
        ("images", f"{result.num_images:,} of {result.source_images:,}"),
        ("bytes of the source", "-" if result.source_bytes is None else f"{result.source_bytes:,}"),
        ("bytes", f"{result.num_bytes:,}" + ("" if share is None else f" ({share:.2%})")),
        ("bytes per image", f"{result.num_bytes / result.num_images:,.1f}"),
    ):
        table.add_row(name, value)
    Console(highlight=False).print(table)
    if result.left_out:
        named = shorten([f"{name}: {reason}" for name, reason in result.left_out], 3)
        print(
            f"warning: left out, since they could not be read: {len(result.left_out)} of {result.source_images:,} "
            f"images ({named}); {out / MANIFEST} names all",
            file=sys.stderr,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Shrink the images of each split; return the exit status, 130 after an interrupt from the keyboard."""
    args = parse_args(argv)
    how = Shrinking(args.fraction, args.images, args.seed, args.jpeg_quality, args.scale)
    try:
        for split, source in [(split, open_split(args, split)) for split in args.split or [None]]:
            out = Path(args.out, split or "")
            for warning in warnings_of(source):
                print(f"warning: {warning}", file=sys.stderr)
            with progress_bar(f"writing {out}", unit="images") as progress:
                result, was_done = shrink_images(source, out, how, progress, args.workers, args.on_error == "fail")
            print(f"{out} is complete already; nothing was done" if was_done else f"{out}:")
            show(result, out)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
