"""The picture of a confusion matrix: names and values while they can be read, and the largest of many classes."""

import numpy as np
import pytest

from seitpp.visualization.confusion import confusion_figure


def test_few_classes_have_names_and_values() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 6]])
    (axes, _) = confusion_figure(counts, ["a_$b$c", "x" * 40, "z"]).axes
    assert [label.get_text()[:6] for label in axes.get_yticklabels()] == ["a_$b$c", "xxxxxx", "z"]
    assert sorted(text.get_text() for text in axes.texts) == ["25.0", "25.0", "75.0", "75.0"]
    assert np.isnan(axes.images[0].get_array().filled(np.nan)[1]).all()  # no sample of this class
    (axes, _) = confusion_figure(counts, ["a", "b", "c"], normalize=False).axes
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3", "6"]


def test_many_classes_share_cells_without_losing_a_mistake() -> None:
    counts = np.eye(1201, dtype=int)
    counts[700, 4] = 1
    (axes, _) = confusion_figure(counts, [str(number) for number in range(1201)]).axes
    shown = axes.images[0].get_array()
    assert shown.shape == (401, 401) and not axes.texts
    assert (shown[233, 1], shown[400, 400], shown[0, 400]) == (50, 100, 0)
    assert "3 x 3 classes per cell" in axes.get_xlabel()


def test_unknown_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="'virids' is no colour map of matplotlib"):
        confusion_figure(np.eye(2), ["a", "b"], cmap="virids")
