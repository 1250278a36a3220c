"""Compute metrics of stored predictions, without the model.

python tools/analysis_tools/eval_metric.py PREDS --metric Accuracy topk=1,5 --metric SingleLabelMetric average=None
python tools/analysis_tools/eval_metric.py CONFIG PREDS        the metrics of the config's test

PREDS is a file of `tools/test.py --out-preds`. Metrics are mmpretrain's, or others by a name with a prefix.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seitpp.evaluation.offline import metrics_of_config, parse_metric, plain_scores, usual_metrics
from seitpp.evaluation.predictions import Predictions, read_predictions
from seitpp.io.atomic_write import check_other_file, write_whole
from seitpp.io.command_line import run_tool
from seitpp.io.config_file import read_config

_MOST_VALUES = 12


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="-", help="config whose test_evaluator is used; - for none")
    parser.add_argument("predictions", type=Path, metavar="PREDS", help="file of tools/test.py --out-preds")
    parser.add_argument(
        "--metric",
        nargs="+",
        action="append",
        dest="metrics",
        metavar="NAME key=value",
        help="metric with its options, as in a config; may be given several times",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the scores to this JSON file")
    args = parser.parse_args(argv)
    if args.metrics and args.config != "-":
        parser.error("give a config or --metric, not both")
    return args


def metrics_asked_for(args: argparse.Namespace, predictions: Predictions) -> list[dict]:
    """Return the configs of the metrics."""
    if args.metrics:
        return [parse_metric(words) for words in args.metrics]
    if args.config == "-":
        return usual_metrics(predictions)
    config = read_config(args.config)
    if not config.get("test_evaluator"):
        raise ValueError(f"{args.config} has no test_evaluator; name metrics with --metric")
    return metrics_of_config(config.test_evaluator)


def print_scores(scores: dict, classes: Sequence[str]) -> None:
    """Print a line per score; values per class with the names of the classes."""
    table = Table("metric", "value", box=None)
    for name, value in scores.items():
        if isinstance(value, list) and len(value) == len(classes) and not isinstance(value[0], list):
            shown = [f"{one}: {number:.4g}" for one, number in zip(classes, value, strict=True)]
            rest = [f"and {len(shown) - _MOST_VALUES} more, see --out"] if len(shown) > _MOST_VALUES else []
            value = "\n".join([*shown[:_MOST_VALUES], *rest])
        elif isinstance(value, list):
            value = f"{len(value)} lines, see --out" if len(value) > _MOST_VALUES else "\n".join(map(str, value))
        table.add_row(Text(name), Text(f"{value:.4f}" if isinstance(value, float) else str(value)))
    Console(highlight=False).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Compute and print."""
    args = parse_args(argv)
    if args.out is not None:
        check_other_file(args.predictions, args.out)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    predictions = read_predictions(args.predictions)
    scores = plain_scores(predictions.evaluate(metrics_asked_for(args, predictions)))
    print_scores(scores, predictions.class_names)
    if args.out is not None:
        write_whole(args.out, (json.dumps(scores, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
