"""Show which classes are taken for which: as text, CSV and a picture.

python tools/analysis_tools/confusion_matrix.py PREDS --show-path confusion.png --out confusion.csv
python tools/analysis_tools/confusion_matrix.py CONFIG CHECKPOINT --show-path confusion.png

PREDS is a file of `tools/test.py --out-preds`; a config and a checkpoint are tested first.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seitpp.engine import launch
from seitpp.engine.checkpoint_sizes import follow_checkpoint
from seitpp.engine.config_checks import check_run
from seitpp.engine.prediction_hook import use_prediction_hook
from seitpp.engine.stores import find_test_stores
from seitpp.evaluation.class_scores import confused_pairs, confusion_counts
from seitpp.evaluation.predictions import SUFFIX, Predictions, read_predictions
from seitpp.io.atomic_write import check_other_file, written_whole
from seitpp.io.command_line import run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.io.csv_file import write_csv
from seitpp.io.text import cut
from seitpp.visualization.confusion import confusion_figure

_NAME_LENGTH = 16  # characters of a class beside the matrix
_MOST_PRINTED = 20  # classes up to which the matrix itself is printed
_DPI = 150


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="config that the checkpoint is tested with")
    parser.add_argument("source", metavar="PREDS_OR_CHECKPOINT", help="predictions (.npz), or a checkpoint")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write counts to this CSV file")
    parser.add_argument("--show-path", type=Path, metavar="FILE", help="write a picture (.png, .pdf, .svg)")
    parser.add_argument("--counts", action="store_true", help="counts in the picture, not per cent of the true class")
    parser.add_argument("--cmap", default="viridis", help="matplotlib's colour map of the picture (default: viridis)")
    parser.add_argument("--pairs", type=int, default=10, help="most confused pairs that are printed (default: 10)")
    parser.add_argument("--store", help="(checkpoint) test on this token store; sizes follow its header")
    add_options_argument(parser)
    args = parser.parse_args(argv)
    args.predicted = args.source.endswith(SUFFIX)
    if not args.predicted and args.config is None:
        parser.error(f"{args.source} is no file of predictions ({SUFFIX}); a checkpoint needs its config before it")
    if args.predicted and (args.store or args.cfg_options):
        parser.error("--store and --cfg-options are for a checkpoint; predictions are there already")
    return args


def predictions_asked_for(args: argparse.Namespace) -> Predictions:
    """Read predictions, or test a checkpoint."""
    if args.predicted:
        MMLogger.get_instance("mmengine").setLevel("ERROR")
        return read_predictions(args.source)
    with tempfile.TemporaryDirectory() as folder:
        args.launcher, args.local_rank, args.work_dir = "none", 0, folder
        config = launch.load_config(args, stores=find_test_stores(args.store))
        check_run(config, "test")
        follow_checkpoint(config, args.source, keep=args.cfg_options or ())
        config.load_from = args.source
        path = Path(folder, f"predictions{SUFFIX}")
        use_prediction_hook(config, path)
        launch.build_runner(config, only_tests=True).test()
        return read_predictions(path)


def print_matrix(counts: np.ndarray, names: Sequence[str], most_pairs: int) -> None:
    """Print the matrix where it has few classes, the accuracy, and what is confused most."""
    console = Console(highlight=False)
    if len(names) <= _MOST_PRINTED:
        table = Table(box=None, show_edge=False)
        table.add_column("true / predicted", justify="right", no_wrap=True)
        for name in names:
            table.add_column(Text(cut(name, _NAME_LENGTH)), justify="right", overflow="ellipsis")
        for name, row in zip(names, counts.tolist(), strict=True):
            table.add_row(Text(cut(name, _NAME_LENGTH)), *(str(count) if count else "." for count in row))
        console.print(table)
    right, total = int(np.trace(counts)), int(counts.sum())
    console.print(f"\n{right:,} of {total:,} right ({100 * right / total:.2f} %)")
    pairs = confused_pairs(counts, names, most_pairs)
    if pairs:
        table = Table("true class", "taken for", "samples", "% of the true class", box=None)
        for pair in pairs:
            table.add_row(Text(pair.true), Text(pair.predicted), str(pair.samples), f"{100 * pair.share:.1f}")
        console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Count, print and draw."""
    args = parse_args(argv)
    for target in filter(None, (args.out, args.show_path)):
        check_other_file(args.source, target)
    predictions = predictions_asked_for(args)
    counts, names = confusion_counts(predictions), predictions.class_names
    print_matrix(counts, names, args.pairs)
    if args.out is not None:
        rows = ([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
        write_csv(args.out, ["true / predicted", *names], rows)
    if args.show_path is not None:
        figure = confusion_figure(counts, names, normalize=not args.counts, cmap=args.cmap)
        with written_whole(args.show_path) as temporary:
            figure.savefig(temporary, format=args.show_path.suffix.lstrip(".") or "png", dpi=_DPI)
        print(f"Picture: {args.show_path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
