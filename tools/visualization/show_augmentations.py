"""Show what augmentations make of a store's tokens, as in SeiT++'s Fig. 3, C and D.

python tools/visualization/show_augmentations.py STORE
python tools/visualization/show_augmentations.py STORE --config configs/tokenadapt/CONFIG.py --token-adapt CHECKPOINT

Writes `augmentations.png`, and `augmentations.html`, which says what each row is and needs no other file. Every column
is a sample of the store; one draw acts on pixels, embeddings and TokenAdapt's map alike. Needs no GPU.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from seitpp.io.atomic_write import written_whole
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import counted_number, run_tool
from seitpp.storage import StoreReader
from seitpp.structures.indices import spread
from seitpp.tokenizers.from_store import tokenizer_from_store
from seitpp.visualization.augmentations import AugmentationPictures, augmentation_page, load_token_adapt
from seitpp.visualization.pictures import labelled_grid

_HOW_TO_GET_ONE = (
    "Rows of TokenAdapt are left out. Train one with tools/train.py and a config of configs/tokenadapt/, then pass "
    "--config CONFIG --token-adapt CHECKPOINT."
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; options that contradict each other end the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the store")
    parser.add_argument("--token-adapt", type=Path, metavar="CHECKPOINT", help="a trained TokenAdapt")
    parser.add_argument("--config", type=Path, help="its training config, a file of configs/tokenadapt/")
    parser.add_argument(
        "--checkpoint", type=Path, help="the tokenizer's weights (default: the file that the store names)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--samples", type=int, nargs="+", metavar="N", help="indices of the samples to show")
    which.add_argument("--count", type=int, default=6, help="how many to show, evenly spread (default: 6)")
    parser.add_argument("--seed", type=counted_number, default=0, help="of the draws (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("work_dirs/augmentations"), help="folder (default: work_dirs/augmentations)"
    )
    args = parser.parse_args(argv)
    if (args.token_adapt is None) != (args.config is None):
        parser.error("--token-adapt and --config belong together: a checkpoint, and the config it was trained with")
    return args


def chosen_samples(args: argparse.Namespace, num_samples: int) -> list[int]:
    """Return the indices of the samples to show; `ValueError` if the store lacks one."""
    samples = spread(num_samples, args.count) if args.samples is None else args.samples
    outside = [number for number in samples if not 0 <= number < num_samples]
    if outside:
        raise ValueError(f"{args.store} has no sample {outside[0]}; expected numbers from 0 to {num_samples - 1}")
    return samples


def main(argv: Sequence[str] | None = None) -> None:
    """Write both files."""
    args = parse_args(argv)
    forbid_pickled_code()
    reader = StoreReader(args.store)
    samples = chosen_samples(args, len(reader))
    tokenizer = tokenizer_from_store(reader, args.checkpoint).eval()
    if args.token_adapt is None:
        network, note = None, _HOW_TO_GET_ONE
        print(note)
    else:
        network = load_token_adapt(args.config, args.token_adapt, reader, tokenizer)
        note = f"TokenAdapt: {args.token_adapt}."
    tokens = torch.from_numpy(reader.read(samples).astype("int64"))
    panels = AugmentationPictures(tokenizer, tokens, network, args.seed).panels()
    title = f"Augmentations of tokens of {type(tokenizer).__name__}"
    notes = [f"Samples {', '.join(map(str, samples))} of {args.store}, seed {args.seed}.", note]
    with written_whole(args.out / "augmentations.png") as temporary:
        labelled_grid(panels).save(temporary, format="png", optimize=True)
    augmentation_page(panels, title, notes).write(args.out / "augmentations.html")
    print(f"{args.out / 'augmentations.png'}, {args.out / 'augmentations.html'}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
