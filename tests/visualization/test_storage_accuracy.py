"""Accuracy over bytes as a picture: marks, the front, the paper's points, and labels that stay apart."""

from itertools import combinations

import numpy as np
import pytest

from seitpp.visualization.storage_accuracy import PAPER_TABLE_1, PAPER_TABLE_2, Point, byte_size, draw_storage_accuracy

OWN = [
    Point("full pixels", "pixels", 24e6, 91.0, 0.4),
    Point("SeiT", "SeiT", 2.1e6, 86.2),
    Point("SeiT++", "SeiT++", 2.1e6, 86.4),
    Point("SeiT++ from MTM", "SeiT++ w/ MTM", 2.1e6, 86.6),
    Point("a $ and more", "something", 0.5e6, 78.0),
]


@pytest.fixture(scope="module")
def figure():
    return draw_storage_accuracy(OWN, [OWN[0], OWN[3], OWN[4]])


def boxes(figure, panel):
    return {text.get_text(): text.get_window_extent() for text in panel.texts}


def test_labels_of_close_marks_do_not_overlap_and_stay_inside(figure):
    (panel,) = figure.axes
    found = boxes(figure, panel)
    assert sorted(found) == sorted(point.name.replace("$", r"\$") for point in OWN)
    assert not [pair for pair in combinations(found, 2) if found[pair[0]].overlaps(found[pair[1]])]
    room = panel.get_window_extent()
    assert all(room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 for box in found.values())
    centres = panel.transData.transform([point[2:4] for point in OWN])
    assert not any(box.contains(*centre) for box in found.values() for centre in centres)


def test_front_is_a_line_of_steps_to_the_end_of_the_axis(figure):
    (panel,) = figure.axes
    line = next(line for line in panel.lines if len(line.get_xdata()) == 6)
    corners = [(0.5e6, 78.0), (2.1e6, 78.0), (2.1e6, 86.6), (24e6, 86.6), (24e6, 91.0), (panel.get_xlim()[1], 91.0)]
    assert np.allclose(line.get_xydata(), corners)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["pixels", "SeiT", "SeiT++", "SeiT++ w/ MTM", "something", "Pareto front"]


def test_paper_is_hollow_and_apart_where_bytes_are_not_comparable():
    figure = draw_storage_accuracy(OWN, paper=True)
    assert len(figure.axes) == 2 and [legend.get_title().get_text() for legend in figure.legends] == [
        "runs here",
        "paper: ImageNet-1k, ViT-B/16",
    ]
    marks = [line for line in figure.axes[1].lines if line.get_marker() not in ("None", "")]
    assert {line.get_markerfacecolor() for line in marks} == {"white"}
    assert sum(len(line.get_xdata()) for line in marks) == len(PAPER_TABLE_1) + len(PAPER_TABLE_2)
    near = [point._replace(num_bytes=5000 * point.num_bytes) for point in OWN]
    assert len(draw_storage_accuracy(near, paper=True).axes) == 1


def test_a_line_joins_the_points_of_a_method_from_few_bytes_to_many():
    own = [Point("", "SeiT", 2e6, 80.0), Point("", "pixels", 9e6, 82.0), Point("", "SeiT", 1e6, 70.0)]
    (panel,) = draw_storage_accuracy(own, connected=True).axes
    joined = [
        line.get_xydata().tolist()
        for line in panel.lines
        if line.get_linestyle() == "-" and len(line.get_xydata()) == 2
    ]
    assert joined == [[[1e6, 70.0], [2e6, 80.0]]]


def test_paper_is_that_of_the_model_zoo(repository):
    zoo = (repository / "docs" / "model_zoo.md").read_text()
    for point in [*PAPER_TABLE_1[-2:], *PAPER_TABLE_2]:
        name = point.method if "MTM" in point.method else f"{point.method} w/o MTM"
        row = next(line for line in zoo.splitlines() if line.startswith(f"| {name}, {point.num_bytes / 1e9:g} GB |"))
        assert row.split("|")[4].strip() == f"{point.score:.1f}"


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="no points to draw"):
        draw_storage_accuracy([])


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (22643, "22.6 kB"), (1.4e9, "1.4 GB"), (140e9, "140 GB"), (2e15, "2000 TB")],
)
def test_bytes_have_three_figures_and_a_unit(count, text):
    assert byte_size(count) == text
