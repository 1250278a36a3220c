"""Show the data of a config before training: samples as stored, and what its pipeline and augmentations make of them.

python tools/visualization/browse_dataset.py CONFIG
python tools/visualization/browse_dataset.py CONFIG --phase val --number 20 --out work_dirs/val-data

Takes configs of classifiers and MTM on tokens (with targets, their weights after mixing, and what MTM hides), of
segmentation (with label maps), of TokenAdapt (pairs of images), of tokenizers, and mmpretrain's of images. Writes
`browse_dataset.html`, which needs no other file, and `browse_dataset.png`. Nothing is trained; of networks only a
frozen tokenizer or TokenAdapt runs, where the data pass through one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from seitpp.engine.browsing import make_browser
from seitpp.engine.recipe_options import read_recipe
from seitpp.engine.stores import add_store_arguments, find_stores
from seitpp.io.atomic_write import written_whole
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import counted_number, positive_number, run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.structures.indices import spread
from seitpp.visualization.dataset_page import add_samples, samples_picture
from seitpp.visualization.page import HtmlPage


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of a training run")
    parser.add_argument("--phase", "-p", choices=("train", "val", "test"), default="train", help="(default: train)")
    parser.add_argument(
        "--number", "--show-number", "-n", type=positive_number, default=8, help="samples to show (default: 8)"
    )
    parser.add_argument("--draws", type=positive_number, default=3, help="of the augmentations, each (default: 3)")
    parser.add_argument("--seed", type=counted_number, default=0, help="of the draws (default: 0)")
    add_store_arguments(parser)
    parser.add_argument("--token-adapt", metavar="CHECKPOINT", help="TokenAdapt's weights in place of the config's")
    parser.add_argument("--checkpoint", type=Path, help="the tokenizer's weights (default: those that the store names)")
    parser.add_argument(
        "--out", "--output-dir", "-o", type=Path, default=Path("work_dirs/browse_dataset"), help="folder to write to"
    )
    add_options_argument(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write both files."""
    args = parse_args(argv)
    forbid_pickled_code()
    train, val = find_stores(args.store, args.val_store)
    config = read_recipe(args, (train, val or (None if args.phase == "train" else train)))
    browser = make_browser(config, args.phase, args.checkpoint)
    indices = spread(len(browser.dataset), args.number)
    torch.manual_seed(args.seed)
    samples = browser.samples(indices, args.draws)
    page = HtmlPage(f"Data of {Path(args.config).stem}", f"{args.config}, {args.phase}, seed {args.seed}.")
    page.paragraph(f"{len(samples)} of {len(browser.dataset):,} {browser.kind}, evenly spread.")
    for note in browser.notes:
        page.paragraph(note)
    if browser.legend:
        page.pictures(browser.legend)
    add_samples(page, samples)
    with written_whole(args.out / "browse_dataset.png") as temporary:
        samples_picture(samples).save(temporary, format="png", optimize=True)
    page.write(args.out / "browse_dataset.html")
    print(f"{args.out / 'browse_dataset.png'}, {args.out / 'browse_dataset.html'}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
