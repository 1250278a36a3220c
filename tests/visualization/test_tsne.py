"""Points of the plane: what is drawn of them, their rows in a table, and the perplexities that go with so many."""

import numpy as np
import pytest

from seitpp.visualization.tsne import PointPanel, check_perplexity, draw_panels, embed, point_rows

NAMES = {number: f"class {number}" for number in range(12)}


def panel(title: str, draws: list[int], predicted: np.ndarray | None = None) -> PointPanel:
    number = 12 * len(draws)
    return PointPanel(
        title=title,
        caption="below",
        points=np.arange(2.0 * number).reshape(number, 2),
        labels=np.tile(np.arange(12), len(draws)),
        samples=np.tile(np.arange(12) + 100, len(draws)),
        draws=np.repeat(draws, 12),
        predicted=predicted,
    )


def test_each_class_has_its_look_and_clean_samples_an_outline() -> None:
    figure = draw_panels([panel("clean", [-1]), panel("direct", [-1, 0, 1])], NAMES, "above")
    clean, direct = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["clean", "direct"] and clean.get_xlabel() == "below"
    looks = {(tuple(one.get_facecolor()[0]), one.get_paths()[0].vertices.shape) for one in clean.collections[12:]}
    assert len(looks) == 12  # colours repeat after ten, with another mark
    sizes = [len(one.get_offsets()) for one in direct.collections]
    assert sizes == [2] * 12 + [1] * 12  # what is clean is drawn last
    assert [one.get_linewidth()[0] > 0 for one in direct.collections] == [False] * 12 + [True] * 12
    figure.draw_without_rendering()
    texts = [(text.get_window_extent(), text.get_text()) for text in figure.legends[0].get_texts()]
    assert len({round(box.y0) for box, _ in texts}) > 1
    by_rows = sorted(texts, key=lambda one: (-round(one[0].y0), one[0].x0))
    assert [label for _, label in by_rows] == [*NAMES.values(), "not augmented"]


def test_rows_say_what_each_point_is() -> None:
    rows = list(point_rows([panel("direct", [-1, 0], np.full(24, 7))], NAMES))
    assert rows[0] == ("direct", "class 0", 0, 100, "", 7, "0", "1")
    assert rows[13] == ("direct", "class 1", 1, 101, 0, 7, "26", "27")
    assert next(point_rows([panel("clean", [-1])], NAMES))[5] == ""


def test_embedding_repeats_with_its_seed_and_keeps_groups_apart() -> None:
    features = np.repeat([[0.0] * 5, [90.0] * 5], 6, axis=0) + np.random.default_rng(0).normal(size=(12, 5))
    points = embed(features, check_perplexity(None, 12), 0)
    np.testing.assert_array_equal(points, embed(features, 11 / 3, 0))
    halves = points[:6], points[6:]
    spread = max(np.ptp(half, axis=0).max() for half in halves)
    assert np.abs(halves[0].mean(axis=0) - halves[1].mean(axis=0)).max() > spread


def test_perplexity_is_below_the_number_of_points() -> None:
    assert (check_perplexity(None, 1000), check_perplexity(None, 16), check_perplexity(15.5, 16)) == (30, 5, 15.5)
    for perplexity in (0.0, 16.0, float("nan")):
        with pytest.raises(
            ValueError, match=r"the smallest panel has 16 points; expected a number above 0 and below 16"
        ):
            check_perplexity(perplexity, 16)
