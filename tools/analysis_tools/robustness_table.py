"""Join the robustness of several classifiers in one table, methods as rows (Table 5 of SeiT++), and draw their curves.

python tools/analysis_tools/robustness_table.py DIR [DIR ...] --legend SeiT SeiT++ --out table5.md curves.png

DIR is what `tools/test_robustness.py --out-dir` wrote. Noise and blur are the means of their severities.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from seitpp.engine.robustness import Results, read_results
from seitpp.engine.robustness.comparison import Compared, compare, weights_shown
from seitpp.engine.robustness.tables import NOT_RUN, severity_scores
from seitpp.io.atomic_write import write_whole, written_whole
from seitpp.io.command_line import file_ending_in, run_tool
from seitpp.io.csv_file import write_csv
from seitpp.io.tables import print_table
from seitpp.io.text import markdown_table
from seitpp.visualization.curves import run_names
from seitpp.visualization.severity_curves import draw_severity_curves

_PICTURES = (".png", ".svg", ".pdf")
_FORMATS = (".csv", ".md", *_PICTURES)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what cannot be written ends the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="results of one checkpoint")
    parser.add_argument("--legend", nargs="+", metavar="NAME", help="names of the rows (default: of the folders)")
    parser.add_argument(
        "--weights",
        choices=("raw", "average"),
        default="raw",
        help="which to show where a checkpoint has an average, too (default: raw, as the paper)",
    )
    files, formats = file_ending_in(*_FORMATS), ", ".join(_FORMATS)
    parser.add_argument("--out", type=files, nargs="+", default=[], metavar="FILE", help=f"files to write: {formats}")
    args = parser.parse_args(argv)
    names = args.legend or args.folders
    if len(names) != len(args.folders) or len(set(names)) < len(names):
        parser.error(f"expected a name of its own for each of the {len(args.folders)} folders")
    return args


def cells(row: Compared) -> list[str]:
    """Return a row in words, with one digit after the point as in the paper."""
    return [row.name, *(NOT_RUN if one is None else f"{one:.1f}" for one in row.scores.values())]


def write(path: Path, rows: Sequence[Compared], classifiers: Mapping[str, Results], weights: str) -> None:
    """Write the table, or the curves, by the file's suffix."""
    header = ["method", *rows[0].scores]
    if path.suffix.lower() == ".csv":
        write_csv(
            path,
            ["method", "weights", *rows[0].scores],
            [[one.name, one.weights, *one.scores.values()] for one in rows],
        )
    elif path.suffix.lower() == ".md":
        write_whole(path, markdown_table(header, map(cells, rows)).encode())
    else:
        curves = {name: severity_scores(one, weights_shown(one, weights)) for name, one in classifiers.items()}
        with written_whole(path) as temporary:
            draw_severity_curves(curves).savefig(temporary, format=path.suffix[1:].lower(), dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and write what was asked for."""
    args = parse_args(argv)
    names = args.legend or run_names(args.folders)
    classifiers = {name: read_results(folder) for name, folder in zip(names, args.folders, strict=True)}
    rows = compare(classifiers, args.weights)
    print_table(["method", *rows[0].scores], map(cells, rows))
    if shown := [f"{row.name} ({row.weights})" for row in rows if row.weights in ("raw", "average")]:
        print(f"weights: {', '.join(shown)}")
    for path in args.out:
        write(path, rows, classifiers, args.weights)
        print(f"wrote {path}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
