"""Show Gaussian noise and blur at their five severities, and what a tokenizer keeps of them.

python tools/visualization/show_corruptions.py SOURCE
python tools/visualization/show_corruptions.py SOURCE --tokenizer TOKENIZER

Writes one picture: for each image a block of rows, clean at the left and severities 1 to 5 beside it. A tokenizer adds
a row below each of them: its tokens decoded, which is what a model of tokens sees. Needs no GPU.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from seitpp.images.corruptions import KINDS, ORDERS, Corruption
from seitpp.ingest.loading import Fitting, ImageBatches
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.io.atomic_write import written_whole
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import counted_number, positive_number, run_tool
from seitpp.structures.indices import spread
from seitpp.tokenizers import Tokenizer
from seitpp.tokenizers.encoding import decoded_pixels, encode_pixels
from seitpp.tokenizers.from_config import build_tokenizer, read_tokenizer
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid

LABELS = {"gaussian_noise": "noise", "gaussian_blur": "blur"}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", help="images: whatever tools/tokenize_images.py takes")
    parser.add_argument("--split", help="sub-folder of that name")
    parser.add_argument("--tokenizer", help="a file of configs/tokenizers/, or a token store that it made")
    parser.add_argument(
        "--size", type=positive_number, default=224, help="pixels of a side, without a tokenizer (default: 224)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--samples", type=counted_number, nargs="+", metavar="N", help="indices of the images to show")
    which.add_argument("--count", type=positive_number, default=2, help="how many, evenly spread (default: 2)")
    parser.add_argument("--seed", type=counted_number, default=0, help="of the noise (default: 0)")
    parser.add_argument("--order", choices=ORDERS, default="input", help="what is corrupted (default: input)")
    parser.add_argument(
        "--out", type=Path, default=Path("work_dirs/corruptions.png"), help="default: work_dirs/corruptions.png"
    )
    return parser.parse_args(argv)


def load(source: ImageSource, fitting: Fitting, number: int, corruption: Corruption | None) -> Tensor:
    """Return one image as a test reads it, (1, C, H, W), uint8."""
    loaded = ImageBatches(source, fitting, corruption=corruption).__getitems__([number])
    if loaded.failures:
        raise ValueError(f"{source.names[number]} cannot be read: {loaded.failures[0][2]}")
    return loaded.pixels


def rows_of(
    source: ImageSource, number: int, fitting: Fitting, tokenizer: Tokenizer | None, args: argparse.Namespace
) -> Iterator[PictureRow]:
    """Yield the rows of one image: each corruption, and below it what the tokenizer keeps."""
    for kind, strengths in KINDS.items():
        corruptions = [None, *(Corruption(kind, level, args.seed, args.order) for level in range(1, 6))]
        images = torch.cat([load(source, fitting, number, corruption) for corruption in corruptions])
        said = f"clean, then {', '.join(f'{strength:g}' for strength in strengths)}"
        yield PictureRow(LABELS[kind], said, images)
        if tokenizer is not None:
            decoded = decoded_pixels(tokenizer, encode_pixels(tokenizer, images, "cpu", len(images)))
            yield PictureRow(f"{LABELS[kind]}, as tokens", said, tokenizer.to_bytes(decoded))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture."""
    args = parse_args(argv)
    forbid_pickled_code()
    source = open_image_source(args.source, split=args.split, unlabelled=True)
    samples = spread(len(source), args.count) if args.samples is None else args.samples
    if outside := [number for number in samples if number >= len(source)]:
        raise ValueError(f"{args.source} has no image {outside[0]}; expected numbers from 0 to {len(source) - 1}")
    tokenizer, fitting = None, Fitting((args.size, args.size), "center-crop", 3, 1)
    if args.tokenizer is not None:
        tokenizer = build_tokenizer(read_tokenizer(args.tokenizer)).eval()
        fitting = Fitting.of(tokenizer)
    with torch.inference_mode():
        panels = [
            PicturePanel(
                f"{source.names[number]}: clean, severity 1 to 5",
                list(rows_of(source, number, fitting, tokenizer, args)),
            )
            for number in samples
        ]
    with written_whole(args.out) as temporary:
        labelled_grid(panels).save(temporary, format="png", optimize=True)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
