"""Scores of classes and samples: mmpretrain's numbers, the pairs that are confused, and the order of samples."""

import numpy as np
import pytest
import torch
from mmpretrain.evaluation import SingleLabelMetric

from seitpp.evaluation.class_scores import (
    best_rows,
    by_accuracy,
    class_scores,
    confused_pairs,
    confusion_counts,
    margins,
    worst_rows,
)
from seitpp.evaluation.predictions import Predictions

NAMES = ["ant", "bee", "cow"]


def made(scores: list[list[float]], labels: list[int]) -> Predictions:
    return Predictions(np.array(scores, np.float32), np.arange(len(labels)), np.array(labels), classes=NAMES)


def test_scores_of_classes_are_those_of_mmpretrain() -> None:
    rng = np.random.default_rng(0)
    predictions = made(rng.dirichlet(np.ones(3), 60).tolist(), rng.integers(3, size=60).tolist())
    found = class_scores(confusion_counts(predictions), NAMES)
    scores, labels = torch.from_numpy(predictions.scores), torch.from_numpy(predictions.labels)
    precision, recall, f1, support = SingleLabelMetric.calculate(scores, labels, average=None)[0]
    np.testing.assert_allclose(100 * np.array([one.precision for one in found]), precision, rtol=1e-5)
    np.testing.assert_allclose(100 * np.array([one.accuracy for one in found]), recall, rtol=1e-5)
    np.testing.assert_allclose(100 * np.array([one.f1 for one in found]), f1, rtol=1e-5)
    assert [one.support for one in found] == support.tolist()


def test_classes_without_samples_or_predictions_have_no_shares() -> None:
    ant, bee, cow = class_scores(np.array([[3, 2, 0], [0, 0, 0], [1, 0, 0]]), NAMES)
    assert (ant.confused_with, ant.confused, bee.confused_with) == ("bee", 2, None)
    assert np.isnan(bee.accuracy) and bee.precision == 0
    assert cow.accuracy == 0 and np.isnan(cow.precision)
    assert by_accuracy([ant, bee, cow]) == [cow, ant]
    assert by_accuracy([ant, bee, cow], lowest_first=False) == [ant, cow]


def test_pairs_are_counted_by_true_class() -> None:
    pairs = confused_pairs(np.array([[3, 2, 0], [4, 1, 0], [0, 0, 9]]), NAMES, 5)
    assert [pair[:3] for pair in pairs] == [("bee", "ant", 4), ("ant", "bee", 2)]
    assert [pair.share for pair in pairs] == pytest.approx([0.8, 0.4])


def test_samples_are_ordered_by_their_margin() -> None:
    scores = [[0.5, 0.4, 0.1], [0.1, 0.9, 0.0], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1]]
    predictions = made(scores, [0, 0, 2, 2, 0])
    np.testing.assert_allclose(margins(predictions), [0.1, -0.8, 0.7, -0.3, -0.5], rtol=1e-5)
    assert worst_rows(predictions, 2).tolist() == [1, 4]
    assert worst_rows(predictions, 9).tolist() == [1, 4, 3]
    assert best_rows(predictions, 9).tolist() == [2, 0]
