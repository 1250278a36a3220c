"""`linear_separability`: classes that a line separates, and draws of a sample that must not straddle the folds."""

import numpy as np
import pytest

from seitpp.evaluation.separability import linear_separability


def test_a_line_through_one_of_two_pairs_of_classes() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 4
    centres = np.array([[0, 0], [9, 0], [0, 9], [0, 9]])  # of the last two nothing tells which is which
    found = linear_separability(centres[labels] + generator.normal(size=(40, 2)), labels, np.arange(40))
    assert 50 <= found <= 90
    assert linear_separability(9 * np.eye(4)[labels] + generator.normal(size=(40, 4)), labels, np.arange(40)) == 100


def test_draws_of_a_sample_stay_in_one_fold() -> None:
    """Features say nothing but which sample they show: with its other draws among the fit, all would be right."""
    samples = np.tile(np.arange(40), 4)
    features = np.random.default_rng(0).normal(size=(40, 60))[samples]
    assert linear_separability(features, samples % 2, samples) == pytest.approx(50, abs=20)
    assert linear_separability(features, samples % 2, np.arange(160)) == 100


def test_as_many_folds_as_the_smallest_class_has_samples() -> None:
    features, labels = np.array([[0.0], [0.1], [1.0], [1.1], [0.2]]), np.array([0, 0, 1, 1, 0])
    assert linear_separability(features, labels, np.arange(5)) == 100
