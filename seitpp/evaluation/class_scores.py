"""Predictions class by class and sample by sample: which classes are mistaken for which, and where it went worst."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmpretrain.evaluation import ConfusionMatrix

from seitpp.evaluation.predictions import Predictions


class ClassScore(NamedTuple):
    """How well one class is recognised; shares are in [0, 1], and nan where nothing is there to share."""

    name: str
    support: int  # samples of the class
    accuracy: float  # share of them that was predicted right: the recall
    precision: float  # share of the predictions of the class that are right
    f1: float  # harmonic mean of the two
    confused_with: str | None  # the class that most of the others were taken for
    confused: int  # how many of them


class ConfusedPair(NamedTuple):
    """Samples of one class that were taken for another."""

    true: str
    predicted: str
    samples: int
    share: float  # of the samples of the true class


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """Count predictions: (C, C), int64, a row per true class, a column per predicted one."""
    labels = predictions.need_labels("a confusion matrix")
    predicted = torch.from_numpy(predictions.predicted)
    counts = ConfusionMatrix.calculate(predicted, torch.from_numpy(labels), predictions.num_classes)
    return counts.numpy().astype(np.int64)


def class_scores(counts: np.ndarray, names: Sequence[str]) -> list[ClassScore]:
    """Return the scores of each class, in the order of their indices, from `confusion_counts` (C, C)."""
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    wrong = counts - np.diag(right)
    taken_for = wrong.argmax(axis=1)
    with np.errstate(invalid="ignore"):
        shares = right / support, right / predicted, 2 * right / (support + predicted)
    return [
        ClassScore(
            name=names[number],
            support=int(support[number]),
            accuracy=float(shares[0][number]),
            precision=float(shares[1][number]),
            f1=float(shares[2][number]),
            confused_with=names[other] if wrong[number, other] else None,
            confused=int(wrong[number, other]),
        )
        for number, other in enumerate(taken_for.tolist())
    ]


def by_accuracy(scores: Sequence[ClassScore], lowest_first: bool = True) -> list[ClassScore]:
    """Return the classes that have samples, by their accuracy; of equal ones that with more samples first."""
    sign = 1 if lowest_first else -1
    return sorted((one for one in scores if one.support), key=lambda one: (sign * one.accuracy, -one.support))


def confused_pairs(counts: np.ndarray, names: Sequence[str], most: int) -> list[ConfusedPair]:
    """Return at most `most` pairs of classes of which the first is taken for the second, the most frequent first."""
    wrong = counts - np.diag(np.diag(counts))
    flat = np.argsort(-wrong, axis=None, kind="stable")[:most]
    support = counts.sum(axis=1)
    return [
        ConfusedPair(names[true], names[predicted], int(wrong[true, predicted]), wrong[true, predicted] / support[true])
        for true, predicted in zip(*(axis.tolist() for axis in np.unravel_index(flat, counts.shape)), strict=True)
        if wrong[true, predicted]
    ]


def margins(predictions: Predictions) -> np.ndarray:
    """Return by how much the score of the true class is above the best of the others, (N,); below 0: a mistake."""
    labels = predictions.need_labels("the order of samples")
    rows = np.arange(len(predictions))
    own = predictions.scores[rows, labels]
    others = predictions.scores.copy()
    others[rows, labels] = -np.inf
    return own - others.max(axis=1)


def worst_rows(predictions: Predictions, most: int) -> np.ndarray:
    """Return rows of at most `most` mistakes, those of the largest margin first."""
    wrong = predictions.predicted != predictions.need_labels("the worst samples")
    order = np.argsort(margins(predictions), kind="stable")
    return order[wrong[order]][:most]


def best_rows(predictions: Predictions, most: int) -> np.ndarray:
    """Return rows of at most `most` samples that were predicted right, those of the largest margin first."""
    right = predictions.predicted == predictions.need_labels("the best samples")
    order = np.argsort(-margins(predictions), kind="stable")
    return order[right[order]][:most]
