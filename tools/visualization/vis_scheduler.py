"""Show the learning rate of a config, iteration by iteration, without its data or weights.

python tools/visualization/vis_scheduler.py CONFIG --dataset-size 1281167 --ngpus 8 --save-path rates.png

Prints the first, highest and last rate of every kind of parameter group, with weight decay and momentum, and draws
them: what changes during the run, or what `--parameter` names. Without `--dataset-size` the samples of the config's own
training data are counted, of the part that `--fraction` and the like leave.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from seitpp.engine.config_changes import scale_lr, use_whole_steps
from seitpp.engine.config_checks import check_run
from seitpp.engine.optim_wrapper import check_fused
from seitpp.engine.recipe_options import read_recipe
from seitpp.engine.schedule_preview import VALUES, SchedulePreview, preview_schedule
from seitpp.engine.stores import add_store_arguments
from seitpp.engine.subset_options import add_subset_arguments
from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import file_ending_in, positive_number, run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.visualization.curves import draw_curves

_PARAMETERS = dict(zip(("lr", "momentum", "wd"), VALUES, strict=True))
_MOST_POINTS = 2000  # of a curve in a picture
_FORMATS = (".png", ".svg", ".pdf")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, in the shape of OpenMMLab's tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("-p", "--parameter", choices=_PARAMETERS, nargs="+", help="what to draw")
    parser.add_argument("-d", "--dataset-size", type=positive_number, metavar="N", help="training samples")
    parser.add_argument("-n", "--ngpus", type=positive_number, default=1, metavar="N", help="processes (default: 1)")
    picture = file_ending_in(*_FORMATS)
    parser.add_argument("-s", "--save-path", type=picture, metavar="FILE", help=f"picture: {', '.join(_FORMATS)}")
    parser.add_argument("--title", help="line above the picture (default: the config's name)")
    add_store_arguments(parser)
    add_subset_arguments(parser)
    add_options_argument(parser)
    return parser.parse_args(argv)


def preview(args: argparse.Namespace) -> SchedulePreview:
    """Prepare the config as tools/train.py does, and run its schedules."""
    config = read_recipe(args)
    check_run(config, "train")
    check_fused(config)
    scale_lr(config, args.ngpus)
    use_whole_steps(config, args.ngpus)
    return preview_schedule(config, args.dataset_size, args.ngpus)


def schedule_table(found: SchedulePreview) -> Table:
    """Return one row per kind of group."""
    several = len({group.optimizer for group in found.groups}) > 1
    names = ("tensors", "values", "decay", "momentum", "first lr", "highest lr", "at", "last lr")
    table = Table(*(["optimizer"] if several else []), *names, box=None)
    for group in found.groups:
        rates = group.values["lr"]
        highest = int(rates.argmax())
        courses = [_course(group.values.get(name)) for name in ("weight_decay", "momentum")]
        shown = (f"{rates[0]:.4g}", f"{rates[highest]:.4g}", f"{highest + 1:,}", f"{rates[-1]:.4g}")
        sizes = (f"{group.num_tensors:,}", f"{group.num_parameters:,}")
        table.add_row(*([group.optimizer] if several else []), *sizes, *courses, *shown)
    return table


def _course(values: np.ndarray | None) -> str:
    if values is None:
        return "-"
    first, last = f"{values[0]:.4g}", f"{values[-1]:.4g}"
    return first if np.ptp(values) == 0 else f"{first} to {last}"


def draw(found: SchedulePreview, args: argparse.Namespace) -> None:
    """Draw the courses that differ, one curve each."""
    total = len(found.groups[0].values["lr"])
    shown = np.unique(np.linspace(0, total - 1, min(total, _MOST_POINTS)).round().astype(int))
    steps = (shown + 1) / (found.epoch_length or 1)
    changing = [name for name in VALUES if any(np.ptp(group.values.get(name, [0])) for group in found.groups)]
    keys = [_PARAMETERS[one] for one in args.parameter] if args.parameter else ["lr", *(set(changing) - {"lr"})]
    runs: dict[str, dict] = {}
    for group in found.groups:
        courses = {name: group.values[name][shown] for name in keys if name in group.values}
        if any(all(np.array_equal(one[name][1], courses[name]) for name in courses) for one in runs.values()):
            continue
        unit = {} if found.epoch_length is None else {"epoch": (steps, steps)}
        label = f"{group.optimizer}, lr up to {group.values['lr'].max():.4g}"
        if "weight_decay" in keys:
            label += f", weight decay {_course(group.values.get('weight_decay'))}"
        runs[label] = {**{name: (steps, values) for name, values in courses.items()}, **unit}
    title = args.title or Path(args.config).stem
    with written_whole(args.save_path) as temporary:
        figure = draw_curves(runs, keys, title)
        figure.savefig(temporary, format=args.save_path.suffix[1:].lower(), dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    """Show the schedule, and draw it where `--save-path` says."""
    args = parse_args(argv)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    found = preview(args)
    total, length = len(found.groups[0].values["lr"]), found.epoch_length
    epochs = "" if length is None else f", {total // length:,} epochs of {length:,}"
    kinds = " and ".join(dict.fromkeys(group.optimizer for group in found.groups))
    console.print(f"{kinds}, {total:,} iterations{epochs}")
    console.print(schedule_table(found))
    if args.save_path is not None:
        draw(found, args)
        console.print(f"wrote {args.save_path}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
