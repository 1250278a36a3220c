"""What augmentation costs in training: parameters, FLOPs and the time of a step, as in the paper's Table B.

    python tools/analysis_tools/cost_table.py [CONFIG ...] [--device cuda --amp] [--out FILE ...]

Without configs it compares SeiT, which augments tokens alone; images that are decoded, augmented and encoded again;
TokenAdapt; and all of SeiT++. Configs of classifiers, or of MTM, are compared with the first of them in one process:
they take turns, and a round gives one ratio of each. In a round all draw the same numbers, and a batch that a config
divides by draws is divided by its share, so that the ratios do not hang on who drew more. On a CPU processor time is
measured, which other programs change less.

Data that are not there are made up, and so are the networks that augment: random weights cost as much. A round is as
long as its slowest config: a batch of 8 through a ViT-VQGAN of full size and back takes some 12 s of one CPU thread.
One FLOP is one multiply-add, as in tools/analysis_tools/get_flops.py, here of forward and backward pass.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from seitpp.benchmarking.configs import add_step_arguments, step_config
from seitpp.benchmarking.costs import TrainingCost, check_comparable, training_costs, use_equal_parts
from seitpp.benchmarking.timing import hardware, hardware_line
from seitpp.io.atomic_write import check_other_file, write_whole
from seitpp.io.command_line import file_ending_in, positive_number, run_tool
from seitpp.io.config_file import read_config
from seitpp.io.csv_file import write_csv
from seitpp.io.text import markdown_table, scaled

_ROOT = Path(__file__).resolve().parents[2]
# Table B by the names of its recipes: what augments, and the paper's weights, hours on 4 V100 and top-1. It has no row
# of TokenAdapt without ColorAdapt.
TABLE_B: dict[str, tuple[str, tuple[str, ...]]] = {
    "seit/seit_vit-small-p16_8xb128-300e_in100-tokens.py": ("tokens alone", ("22M", "5.9", "77.3")),
    "seit/seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens.py": (
        "through pixels",
        ("22M+172M", "49.2 (+734 %)", "80.1"),
    ),
    "seit/seit_vit-small-p16_tokenadapt_8xb128-300e_in100-tokens.py": ("TokenAdapt", ("", "", "")),
    "seitpp/seitpp_vit-small-p16_8xb128-300e_in100-tokens.py": ("SeiT++", ("22M+3.7M", "6.4 (+8 %)", "81.4")),
}
_PAPER = ("paper_weights", "paper_hours", "paper_top1")
_COLUMNS = (
    *("augmentation", "weights\ntrained", "weights\nfrozen", "FLOPs\ntraining", "FLOPs\naugmenting"),
    *("ms\nstep", "ms\naugmenting", "ratio\n(of rounds)"),
)
_PAPER_COLUMNS = ("paper\nweights", "paper\nh on 4 V100", "paper\ntop-1")
_SUFFIXES = (".csv", ".md", ".json")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "configs",
        nargs="*",
        default=[str(_ROOT / "configs" / name) for name in TABLE_B],
        metavar="CONFIG",
        help="configs that tools/train.py takes (default: those of Table B)",
    )
    add_step_arguments(parser)
    parser.add_argument("--amp", action="store_true", help="train in bfloat16, as --amp of tools/train.py")
    parser.add_argument("--rounds", type=positive_number, default=5, help="turns of each (default: 5)")
    parser.add_argument("--steps", type=positive_number, help="steps per turn; by default 10 on a GPU, 1 on a CPU")
    files, formats = file_ending_in(*_SUFFIXES), ", ".join(_SUFFIXES)
    parser.add_argument("--out", type=files, nargs="+", default=[], metavar="FILE", help=f"files to write: {formats}")
    return parser.parse_args(argv)


def measured(args: argparse.Namespace, steps: int) -> tuple[list[TrainingCost], str]:
    """Measure configs that can be compared; return what each costs, and how it was measured."""
    check_comparable([read_config(path) for path in args.configs])
    precision = "bfloat16" if args.amp else "float32"
    with ExitStack() as stack:
        configs = []
        for path in args.configs:
            configs.append(stack.enter_context(step_config(argparse.Namespace(**{**vars(args), "config": path}))))
            use_equal_parts(configs[-1])
        costs = training_costs(configs, args.device, precision, args.rounds, steps)
    sizes = " and ".join(sorted({str(config.train_dataloader.batch_size) for config in configs}))
    timed = "milliseconds" if torch.device(args.device).type == "cuda" else "milliseconds of all CPU threads together"
    return costs, (
        f"Per sample: FLOPs, of which one is one multiply-add, of forward and backward pass; {timed}, of a step and of "
        f"the augmentation in it. {precision}, batches of {sizes}, {steps} steps per turn; medians of {args.rounds} "
        "rounds, and the lowest and the highest ratio of a round."
    )


def figures_of(paths: Sequence[str], costs: Sequence[TrainingCost]) -> list[dict[str, Any]]:
    """Return a row per config: what was counted and measured, and what the paper says, where one is of Table B."""
    rows = [TABLE_B.get("/".join(Path(path).parts[-2:]), (Path(path).stem, ("", "", ""))) for path in paths]
    columns = _PAPER if any(any(published) for _, published in rows) else ()
    return [
        {"name": name, "config": path, **cost.figures(costs[0]), **dict(zip(columns, published, strict=False))}
        for path, cost, (name, published) in zip(paths, costs, rows, strict=True)
    ]


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what `cells` are of, each in two lines."""
    return [*_COLUMNS, *(_PAPER_COLUMNS if _PAPER[0] in rows[0] else ())]


def cells(row: dict[str, Any]) -> list[str]:
    """Return the figures of a row as people read them."""
    counts = [scaled(row[name], 3) for name in row if name.endswith(("_parameters", "_multiply_adds"))]
    times = [f"{row[f'{part}_ms']:.4g}" for part in ("step", "augmentation")]
    ratio, *ends = (f"{row[f'times_first{part}']:.2f}" for part in ("", "_lowest", "_highest"))
    return [row["name"], *counts, *times, f"{ratio} ({' to '.join(ends)})", *(row[one] for one in _PAPER if one in row)]


def write(out: Path, figures: dict[str, Any], notes: Sequence[str]) -> None:
    """Write a table for people, its numbers for a spreadsheet, or all that is known, by the file's suffix."""
    rows, kind = figures["rows"], out.suffix.lower()
    if kind == ".csv":
        write_csv(out, list(rows[0]), [list(row.values()) for row in rows])
        return
    text = json.dumps(figures, indent=1) + "\n"
    if kind == ".md":
        header = [column.replace("\n", ", ") for column in columns_of(rows)]
        text = "\n".join([markdown_table(header, map(cells, rows)), *(f"{note}\n" for note in notes)])
    write_whole(out, text.encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and write it."""
    args = parse_args(argv)
    for config, out in product(args.configs, args.out):
        check_other_file(config, out)
    costs, settings = measured(args, args.steps or (10 if torch.device(args.device).type == "cuda" else 1))
    rows = figures_of(args.configs, costs)
    table = Table(*columns_of(rows), box=None, padding=(0, 1, 0, 0))
    table.columns[0].overflow = "fold"
    for row in rows:
        table.add_row(*cells(row))
    Console(highlight=False, width=120).print(table)
    machine = hardware(args.device)
    notes = settings, hardware_line(machine)
    print(*notes, sep="\n")
    rounds = [cost.step_ms for cost in costs]
    for out in args.out:
        write(out, {"rows": rows, "step_ms": rounds, "settings": settings, "hardware": machine}, notes)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
