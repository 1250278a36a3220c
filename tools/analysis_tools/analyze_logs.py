"""Curves and iteration times of runs, from their work folders or logs, in the shape of OpenMMLab's tool.

python tools/analysis_tools/analyze_logs.py plot_curve LOG [LOG ...] --keys loss accuracy/top1 --out curves.png
python tools/analysis_tools/analyze_logs.py cal_train_time LOG [LOG ...]

LOG names a run: its work folder, the folder of one start, or a log in it (`scalars.json`); resumed runs are one curve.
`plot_curve` prints the last, lowest and highest value of each key; `--out` writes them all, as a picture or as CSV.
Where validation logs a key of training's too, such as `loss`, both are drawn; by itself it is `val/loss`.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import file_ending_in, regular_expression, run_tool
from seitpp.io.csv_file import write_csv
from seitpp.visualization.curves import (
    Scalars,
    check_keys,
    curve_rows,
    draw_curves,
    iteration_times,
    read_scalars,
    run_names,
    step_unit,
)

_FORMATS = (".png", ".svg", ".pdf", ".csv")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what cannot be written ends the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    plot = tasks.add_parser("plot_curve", help="show, draw or write logged numbers")
    times = tasks.add_parser("cal_train_time", help="show the time of training iterations")
    for task in (plot, times):
        task.add_argument("logs", type=Path, nargs="+", metavar="LOG", help="work folder or scalars.json")
        task.add_argument("--legend", nargs="+", metavar="NAME", help="names of the runs (default: of their folders)")
    plot.add_argument("--keys", nargs="+", default=["loss"], metavar="KEY", help="what to show (default: loss)")
    plot.add_argument("--title", help="line above the picture")
    plot.add_argument(
        "--group",
        type=regular_expression,
        metavar="REGEX",
        help="runs whose names are alike without it have one colour: --group='-seed[0-9]+'",
    )
    files, formats = file_ending_in(*_FORMATS), ", ".join(_FORMATS)
    plot.add_argument("--out", type=files, nargs="+", default=[], metavar="FILE", help=f"files to write: {formats}")
    times.add_argument(
        "--include-outliers", action="store_true", help="count the first value of every epoch, which has the warm-up"
    )
    args = parser.parse_args(argv)
    if args.legend is not None and len(args.legend) != len(args.logs):
        parser.error(f"--legend has {len(args.legend)} names, expected one for each of the {len(args.logs)} runs")
    if args.legend is not None and len(set(args.legend)) < len(args.legend):
        parser.error("--legend names two runs alike; expected different names")
    return args


def write_curves(
    path: Path, runs: Mapping[str, Scalars], keys: Sequence[str], title: str | None, groups: Mapping[str, str]
) -> None:
    """Write curves as a table or as a picture, by the file's suffix."""
    if path.suffix.lower() == ".csv":
        write_csv(path, ("run", "key", "unit", "step", "value"), curve_rows(runs, keys))
        return
    with written_whole(path) as temporary:
        draw_curves(runs, keys, title, groups).savefig(temporary, format=path.suffix[1:].lower(), dpi=120)


def curves_table(runs: Mapping[str, Scalars], keys: Sequence[str]) -> Table:
    """Return the last, lowest and highest values, with their steps."""
    table = Table("run", "key", "last", "lowest", "highest", "(at)", box=None)
    for name, scalars in runs.items():
        for logged in (one for key in keys for one in (key, f"val/{key}") if one in scalars):
            steps, values = scalars[logged]
            places = (len(values) - 1, values.argmin(), values.argmax())
            shown = [f"{values[place]:.4g} ({steps[place]:.4g})" for place in places]
            table.add_row(name, logged, *shown, step_unit(scalars))
    return table


def times_table(runs: Mapping[str, Scalars], include_outliers: bool) -> Table:
    """Return iteration times in milliseconds."""
    table = Table("run", "mean", "deviation", "waiting for data", "fastest epoch", "slowest epoch", box=None)
    for name, scalars in runs.items():
        try:
            found = iteration_times(scalars, include_outliers)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        epochs = [
            "-" if found[which] is None else f"{1000 * found[which][1]:.1f} ms ({found[which][0]})"
            for which in ("fastest_epoch", "slowest_epoch")
        ]
        waiting = "-" if found["data_time"] is None else f"{100 * found['data_time'] / found['mean']:.0f} %"
        table.add_row(name, f"{1000 * found['mean']:.1f} ms", f"{1000 * found['deviation']:.1f} ms", waiting, *epochs)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Show curves or times, and write what was asked for."""
    args = parse_args(argv)
    names = args.legend or run_names(args.logs)
    runs = {name: read_scalars(log) for name, log in zip(names, args.logs, strict=True)}
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if args.task == "cal_train_time":
        console.print(times_table(runs, args.include_outliers))
        return
    check_keys(runs, args.keys)
    console.print(curves_table(runs, args.keys))
    groups = {name: (args.group.sub("", name) if args.group else "") or name for name in names}
    for path in args.out:
        write_curves(path, runs, args.keys, args.title, groups)
        console.print(f"wrote {path}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
