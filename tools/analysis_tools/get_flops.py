"""Count parameters and FLOPs of what a config builds, with tokens as input. No data and no checkpoints are needed.

python tools/analysis_tools/get_flops.py configs/seit/seit_vit-base-p16_8xb128-300e_in1k-tokens.py
python tools/analysis_tools/get_flops.py configs/mtm/mtm_vit-base-p16_8xb512-400e_in1k-tokens.py --depth 2
python tools/analysis_tools/get_flops.py configs/tokenizers/seit_vitvqgan.py --shape 512

One FLOP is one multiply-add of a matrix product or a convolution, attention included, as in the numbers of OpenMMLab
and most papers; those who count both operations have twice as many. Configs are of classifiers, segmentors, MTM,
TokenAdapt and tokenizers with networks.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table

from seitpp.benchmarking.complexity import complexities
from seitpp.engine.recipe_options import read_recipe
from seitpp.engine.stores import find_test_stores
from seitpp.io.atomic_write import check_other_file, write_whole
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.io.text import scaled


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--shape",
        type=positive_number,
        nargs="+",
        metavar="SIDE",
        help="rows and columns of tokens that the network sees, of pixels for a tokenizer (default: the config's)",
    )
    parser.add_argument("--batch-size", type=positive_number, default=1, help="samples (default: 1)")
    parser.add_argument("--store", help="take the sizes from this token store")
    parser.add_argument("--depth", type=int, default=0, help="also list modules to this depth (default: 0, none)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers to this JSON file")
    add_options_argument(parser)
    args = parser.parse_args(argv)
    if args.shape is not None and len(args.shape) > 2:
        parser.error(f"--shape takes one side or two, got {len(args.shape)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print."""
    args = parse_args(argv)
    if args.out is not None:
        check_other_file(args.config, args.out)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    config = read_recipe(args, find_test_stores(args.store))
    shape = None if args.shape is None else (args.shape * 2)[:2]
    found = complexities(config, shape, args.batch_size, max(args.depth, 0))
    table = Table("", "input", "parameters", "FLOPs", box=None)
    for one in found:
        parameters = "" if one.parameters is None else scaled(one.parameters)
        table.add_row(one.name, one.input, parameters, scaled(one.multiply_adds))
        for name, count in one.parts.items():
            table.add_row(f"  {name}", "", "", scaled(count))
    Console(highlight=False).print(table)
    print(f"For a batch of {args.batch_size}; one FLOP is one multiply-add, of matrix products and convolutions.")
    if args.out is not None:
        numbers = {"batch_size": args.batch_size, "parts": [asdict(one) for one in found]}
        write_whole(args.out, (json.dumps(numbers, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
