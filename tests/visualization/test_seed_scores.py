"""Every seed of every method as a mark, with their means in figures."""

import pytest

from seitpp.visualization.seed_scores import draw_seed_scores

SCORES = {"SeiT": {"all": [80.0, 81.0, 84.0], "few": [60.0]}, "a $ method": {"all": [79.0, 79.0]}}


def test_every_seed_has_a_mark_of_its_own_and_every_cell_its_mean() -> None:
    figure = draw_seed_scores(SCORES, ["all", "none", "few"])
    every, few = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["all", "few"]
    marks = [tuple(point) for line in every.lines for point in line.get_xydata()]
    assert len(marks) == len(set(marks)) == 5
    assert sorted(x for x, _ in marks) == [79.0, 79.0, 80.0, 81.0, 84.0]
    bars = [collection.get_segments()[0][0, 0] for collection in every.collections]
    assert bars == pytest.approx([245 / 3, 79.0])
    assert [text.get_text() for text in every.texts] == ["81.7", "79.0"]
    assert [text.get_text() for text in few.texts] == ["60.0", "not run"]
    assert [label.get_text() for label in every.get_yticklabels()] == ["SeiT", r"a \$ method"]


def test_panels_span_as_many_points_around_their_scores() -> None:
    every, few = draw_seed_scores(SCORES, ["all", "few"]).axes
    assert (every.get_xlim()[1] - every.get_xlim()[0]) == pytest.approx(few.get_xlim()[1] - few.get_xlim()[0])
    assert every.get_xlim()[0] < 79 and every.get_xlim()[1] > 84
    assert few.get_xlim()[0] < 60 < few.get_xlim()[1]
    assert every.get_ylim()[0] > every.get_ylim()[1]  # rows from the top


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores to draw"):
        draw_seed_scores({"SeiT": {"all": []}}, ["all"])
