"""Look into stored predictions: scores of each class, what is confused, the best and the worst samples.

python tools/analysis_tools/analyze_results.py PREDS --out-dir work_dirs/analysis

writes `index.html`, one page with pictures, `classes.csv` and `samples.csv`. PREDS is a file of
`tools/test.py --out-preds`, which says where the samples are; --store and --images say where they are now.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger

from seitpp.datasets.sample_pictures import SamplePictures
from seitpp.evaluation.class_scores import by_accuracy, class_scores, confusion_counts, margins
from seitpp.evaluation.offline import usual_metrics
from seitpp.evaluation.predictions import Predictions, read_predictions
from seitpp.io.atomic_write import check_other_file
from seitpp.io.command_line import run_tool
from seitpp.io.csv_file import write_csv
from seitpp.io.text import shorten
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.results_page import add_best_samples, add_class_scores, add_worst_samples


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, metavar="PREDS", help="file of tools/test.py --out-preds")
    parser.add_argument("--out-dir", type=Path, required=True, help="folder for the page and the tables")
    parser.add_argument("--topk", type=int, default=20, help="samples shown as best and as worst (default: 20)")
    parser.add_argument("--store", type=Path, help="the token store, where it was moved")
    parser.add_argument("--checkpoint", type=Path, help="weights of the store's tokenizer, where they were moved")
    parser.add_argument("--images", metavar="SOURCE", help="the images, where they were moved")
    parser.add_argument("--split", help="sub-folder or split of SOURCE")
    args = parser.parse_args(argv)
    if args.topk < 1:
        parser.error(f"--topk must be at least 1, got {args.topk}")
    if args.store is not None and args.images is not None:
        parser.error("give --store or --images, not both")
    if args.split is not None and args.images is None:
        parser.error("--split means nothing without --images")
    return args


def results_page(predictions: Predictions, pictures: SamplePictures, most: int) -> HtmlPage:
    """Return the page."""
    source = predictions.source.get("store") or predictions.source.get("images") or predictions.source.get("name")
    page = HtmlPage("Predictions", f"{len(predictions):,} samples of {source}, {predictions.num_classes:,} classes.")
    scores = predictions.evaluate(usual_metrics(predictions))
    page.table(("score", "value"), [(name, f"{value:.2f}") for name, value in scores.items()])
    page.paragraph(pictures.note)
    draw = pictures.of if pictures.can_draw else None
    add_worst_samples(page, predictions, draw, most)
    add_class_scores(page, predictions)
    add_best_samples(page, predictions, draw, most)
    return page


def sample_rows(predictions: Predictions) -> Iterator[tuple]:
    """Yield a line per sample, from the worst to the best."""
    distances, names = margins(predictions), predictions.class_names
    for row in np.argsort(distances, kind="stable"):
        true, guess = int(predictions.labels[row]), int(predictions.predicted[row])
        scores = (f"{predictions.scores[row, one]:.6g}" for one in (true, guess))
        yield predictions.name_of(row), names[true], names[guess], int(true == guess), *scores, f"{distances[row]:.6g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Analyse, write, and print the worst classes."""
    args = parse_args(argv)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    predictions = read_predictions(args.predictions)
    counts = confusion_counts(predictions)
    scores = class_scores(counts, predictions.class_names)
    pictures = SamplePictures(predictions, args.store, args.images, args.split, args.checkpoint)
    header = ("sample", "true", "predicted", "right", "true_score", "predicted_score", "margin")
    page = results_page(predictions, pictures, args.topk)
    files = [args.out_dir / name for name in ("index.html", "classes.csv", "samples.csv")]
    for file in files:
        check_other_file(args.predictions, file)
    page.write(files[0])
    write_csv(files[1], scores[0]._fields, scores)
    write_csv(files[2], header, sample_rows(predictions))
    worst = [f"{one.name} {100 * one.accuracy:.1f} %" for one in by_accuracy(scores)[:5]]
    print(f"Worst classes: {shorten(worst, 5)}")
    print(pictures.note)
    print(f"Page: {files[0]}; tables beside it: classes.csv, samples.csv")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
