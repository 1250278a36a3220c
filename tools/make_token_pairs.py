"""Prepare the pairs that TokenAdapt trains on, once, where the tokenizer takes longer than the training.

    python tools/make_token_pairs.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py data/in1k-token-pairs
    torchrun --nproc_per_node 8 tools/make_token_pairs.py CONFIG OUT

Then train from them: configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-token-pairs.py, or any such config with a
`seitpp.TokenPairDataset` in its train_dataloader. A run that was stopped continues with the same command.
"""

import argparse
import datetime
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.registry import DefaultScope

from seitpp.engine.config_checks import check_run
from seitpp.engine.recipe_options import read_recipe
from seitpp.io.atomic_write import check_other_file
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import counted_number, positive_number, run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.io.devices import check_device
from seitpp.io.process_group import process_group_ended
from seitpp.io.progress import progress_bar
from seitpp.token_pairs.maker import make_token_pairs


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config that trains seitpp.TokenAdaptPretrain on images")
    parser.add_argument("out", type=Path, help="folder of the pairs")
    for name, default, meaning in (
        ("--epochs", 1, "passes over the images, each with its own draws"),
        ("--group-size", 32, "images augmented together"),
        ("--groups-per-part", 128, "groups per file"),
    ):
        parser.add_argument(name, type=positive_number, default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--seed", type=counted_number, default=0, help="of order and draws (default: 0)")
    parser.add_argument("--device", help="by default the GPU if there is one")
    parser.add_argument("--store", help="make pairs of this token store's tokenizer, at its sizes")
    add_options_argument(parser)
    return parser.parse_args(argv)


def make(args: argparse.Namespace) -> None:
    """Make the pairs, or this process's share of them."""
    forbid_pickled_code()
    check_other_file(args.config, args.out)
    cfg = read_recipe(args, tell=print)
    check_run(cfg, "train")
    device = check_device(args.device) if args.device else ("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.distributed.is_initialized():
        # Only tells the processes apart, and lets the first ones done wait for the slowest.
        torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(days=7))
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    name = "parts" if get_world_size() == 1 else f"parts, process 0 of {get_world_size()}"
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "seitpp")), progress_bar(name) as advance:
        count = make_token_pairs(
            cfg,
            args.out,
            epochs=args.epochs,
            group_size=args.group_size,
            groups_per_part=args.groups_per_part,
            seed=args.seed,
            device=device,
            advance=advance,
        )
    if is_main_process():
        print(f"{args.out}: {count:,} pairs in groups of {args.group_size}")


def main(argv: Sequence[str] | None = None) -> None:
    """Make the pairs, or this process's share of them."""
    with process_group_ended():
        make(parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
