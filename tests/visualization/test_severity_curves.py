"""Accuracy over severity: a panel per corruption, a line per classifier."""

import pytest

from seitpp.visualization.severity_curves import draw_severity_curves


def test_each_corruption_has_a_panel_with_every_classifier() -> None:
    first = {"Noise": [(0, 90.0), (1, 80.0), (5, 20.0)], "Blur": [(1, 70.0)]}
    figure = draw_severity_curves({"A": first, "B$": {"Noise": [(1, 60.0)]}})
    noise, blur = figure.axes
    assert (noise.get_title(), blur.get_title()) == ("Noise", "Blur")
    assert [line.get_xydata().tolist() for line in noise.lines] == [[[0, 90], [1, 80], [5, 20]], [[1, 60]]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["A", r"B\$"]


def test_classifiers_have_given_colours_and_the_axis_ends_at_the_last_severity() -> None:
    scores = {"Noise": [(0, 90.0), (3, 20.0)]}
    (panel,) = draw_severity_curves({"A": scores, "B": scores}, {"B": "#0072B2"}).axes
    assert [line.get_color() for line in panel.lines] == ["C0", "#0072B2"]
    assert panel.get_xticks().tolist() == [0, 1, 2, 3]


def test_one_classifier_needs_no_legend() -> None:
    assert not draw_severity_curves({"": {"Noise": [(1, 60.0)]}}).legends


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no scores at several severities"):
        draw_severity_curves({"A": {}})
