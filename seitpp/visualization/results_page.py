"""Predictions on a page: scores, classes from worst to best, what is confused, and the worst and best samples."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from seitpp.evaluation.class_scores import (
    ClassScore,
    best_rows,
    by_accuracy,
    class_scores,
    confused_pairs,
    confusion_counts,
    worst_rows,
)
from seitpp.evaluation.predictions import Predictions
from seitpp.io.text import cut
from seitpp.visualization.confusion import confusion_figure
from seitpp.visualization.page import HtmlPage

# Pictures of some rows of the predictions.
Pictures = Callable[[np.ndarray], Sequence[Image.Image]]

CLASS_HEADER = ("class", "samples", "accuracy, %", "precision, %", "F1, %", "most often taken for", "times")
SAMPLE_HEADER = ("sample", "true class", "its score", "predicted class", "its score")
_MOST_CLASSES = 60  # up to which all are listed, else the worst and the best
_LISTED = 20
_PAIRS = 15
_NAME_CHARACTERS = 40


def class_row(score: ClassScore) -> tuple:
    """Return a class's scores as cells of a table below `CLASS_HEADER`."""
    shares = [
        None if np.isnan(share) else f"{100 * share:.1f}" for share in (score.accuracy, score.precision, score.f1)
    ]
    return (score.name, score.support, *shares, score.confused_with, score.confused or None)


def add_class_scores(page: HtmlPage, predictions: Predictions) -> None:
    """Add the confusion matrix, the pairs that are confused most, and the scores of the classes."""
    counts, names = confusion_counts(predictions), predictions.class_names
    page.heading("Confusion matrix")
    page.paragraph("Of the samples of each true class (rows), the share that was predicted as each class (columns).")
    page.picture(confusion_figure(counts, names), alt="Confusion matrix")
    if pairs := confused_pairs(counts, names, _PAIRS):
        page.heading("Most confused classes", 3)
        rows = [(pair.true, pair.predicted, pair.samples, f"{100 * pair.share:.1f}") for pair in pairs]
        page.table(("true class", "predicted class", "samples", "% of the true class"), rows)
    ordered = by_accuracy(class_scores(counts, names))
    page.heading("Classes")
    page.paragraph("The accuracy of a class is the share of its samples that are predicted right, its recall.")
    if len(ordered) <= _MOST_CLASSES:
        page.table(CLASS_HEADER, map(class_row, ordered))
    else:
        page.heading(f"The {_LISTED} worst of {len(ordered)}", 3)
        page.table(CLASS_HEADER, map(class_row, ordered[:_LISTED]))
        page.heading(f"The {_LISTED} best", 3)
        page.table(CLASS_HEADER, map(class_row, ordered[: -_LISTED - 1 : -1]))
    if absent := predictions.num_classes - len(ordered):
        page.paragraph(f"{absent} classes have no sample among these and are not listed.")


def add_worst_samples(page: HtmlPage, predictions: Predictions, pictures: Pictures | None, most: int = 12) -> None:
    """Add the mistakes that the model is surest of, with pictures where there are any."""
    rows = worst_rows(predictions, most)
    mistakes = int((predictions.predicted != predictions.need_labels("a page of results")).sum())
    page.heading("Worst samples")
    page.paragraph(
        f"{mistakes:,} of {len(predictions):,} samples are predicted wrong; first those whose predicted class scores "
        "furthest above the true one: look for wrong labels here, and for what the model does not see."
    )
    _add_samples(page, predictions, rows, pictures)


def add_best_samples(page: HtmlPage, predictions: Predictions, pictures: Pictures | None, most: int = 12) -> None:
    """Add the samples that are predicted right with the largest distance to the other classes."""
    page.heading("Best samples")
    _add_samples(page, predictions, best_rows(predictions, most), pictures)


def sample_row(predictions: Predictions, row: int) -> tuple:
    """Return a sample as cells of a table below `SAMPLE_HEADER`."""
    names, scores = predictions.class_names, predictions.scores[row]
    true, guess = int(predictions.need_labels("a sample")[row]), int(predictions.predicted[row])
    return predictions.name_of(row), names[true], f"{scores[true]:.3f}", names[guess], f"{scores[guess]:.3f}"


def sample_caption(predictions: Predictions, row: int) -> str:
    """Say of a sample what it is, what it was taken for and how surely."""
    names, labels = predictions.class_names, predictions.need_labels("a caption")
    true, guess = int(labels[row]), int(predictions.predicted[row])
    scores = predictions.scores[row]
    shown = f"{cut(names[guess], _NAME_CHARACTERS)} ({scores[guess]:.2f})"
    if guess != true:
        shown = f"taken for {shown}, is {cut(names[true], _NAME_CHARACTERS)} ({scores[true]:.2f})"
    return f"{shown}; {predictions.name_of(row)}"


def _add_samples(page: HtmlPage, predictions: Predictions, rows: np.ndarray, pictures: Pictures | None) -> None:
    if not len(rows):
        page.paragraph("There are none.")
    elif pictures is None:
        page.table(SAMPLE_HEADER, [sample_row(predictions, row) for row in rows])
    else:
        captions = [sample_caption(predictions, row) for row in rows]
        page.pictures(zip(pictures(rows), captions, strict=True))
