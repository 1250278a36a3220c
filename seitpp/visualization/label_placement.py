"""Labels beside the marks of a chart, each where it covers neither a mark nor a line nor another label."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DISTANCES = (7, 13, 21, 31, 43, 57, 73)  # points between a mark and its label, nearest first
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_PADDING_PIXELS = 1
_MARK_POINTS = 6  # half the side of the square that a mark needs
_LEADER_POINTS = 15  # labels that are farther off have a line to their mark
_DISTANCE_COST = 0.02  # per point, against 1 for a label that is covered whole
_LINE_COST = 0.15  # per sample of a line that lies under a label
_OUTSIDE_COST = 10.0


class Label(NamedTuple):
    """A text for the mark at a place, in data coordinates."""

    x: float
    y: float
    text: str
    color: str = "black"


def place_labels(
    panel: "Axes", labels: Sequence[Label], marks: np.ndarray, lines: Sequence[np.ndarray] = (), size: float = 8.5
) -> None:
    """Write labels beside their marks; call it when limits and layout of the figure are final.

    Args:
        panel: Where the marks are.
        labels: What to write.
        marks: All marks to keep clear of, (n, 2), in data coordinates.
        lines: Lines to keep clear of where there is room, each (m, 2), in data coordinates.
        size: Of the font, in points.
    """
    figure = panel.get_figure()
    scale = figure.dpi / 72  # pixels per point
    to_pixels = panel.transData.transform
    room = panel.get_window_extent().extents
    centres = to_pixels(np.reshape(marks, (-1, 2)))
    taken = [np.r_[centre - _MARK_POINTS * scale, centre + _MARK_POINTS * scale] for centre in centres]
    samples = _samples([to_pixels(line) for line in lines])
    for label in sorted(labels, key=lambda one: -one.y):
        centre, extent = to_pixels((label.x, label.y)), _text_size(panel, label.text, size)
        places = [
            (distance, direction, _box(centre, extent, distance * scale, direction))
            for distance, direction in product(_DISTANCES, _DIRECTIONS)
        ]
        costs = [_DISTANCE_COST * distance + _cost(box, taken, samples, room) for distance, _, box in places]
        distance, (right, up), box = places[int(np.argmin(costs))]
        taken.append(box)
        offset = distance / np.hypot(right, up)
        near = tuple({-1: 1.0, 0: 0.5, 1: 0.0}[one] for one in (right, up))  # of the text, from its lower left
        leader = {"arrowstyle": "-", "color": "0.6", "lw": 0.6, "shrinkA": 1, "shrinkB": 4, "relpos": near}
        panel.annotate(
            label.text,
            (label.x, label.y),
            (right * offset, up * offset),
            textcoords="offset points",
            ha={-1: "right", 0: "center", 1: "left"}[right],
            va={-1: "top", 0: "center", 1: "bottom"}[up],
            fontsize=size,
            color=label.color,
            arrowprops=leader if distance > _LEADER_POINTS else None,
        )


def _text_size(panel: "Axes", text: str, size: float) -> np.ndarray:
    """Return width and height of a text in pixels."""
    drawn = panel.text(0, 0, text, fontsize=size, transform=None)
    box = drawn.get_window_extent()
    drawn.remove()
    return np.array([box.width, box.height]) + 2 * _PADDING_PIXELS


def _box(centre: np.ndarray, extent: np.ndarray, distance: float, direction: tuple[int, int]) -> np.ndarray:
    """Return left, bottom, right and top of a label in that direction from a mark."""
    towards = np.asarray(direction)
    anchor = centre + distance * towards / np.hypot(*direction)
    low = anchor - extent * np.array([{-1: 1.0, 0: 0.5, 1: 0.0}[one] for one in direction])
    return np.r_[low, low + extent]


def _cost(box: np.ndarray, taken: Sequence[np.ndarray], samples: np.ndarray, room: np.ndarray) -> float:
    """Return how much a box is covered, in shares of its area, with lines below it and what lies outside."""
    area = max((box[2] - box[0]) * (box[3] - box[1]), 1e-9)
    covered = sum(_overlap(box, other) for other in taken) / area
    outside = 1 - _overlap(box, room) / area
    inside = (samples >= box[:2]).all(axis=1) & (samples <= box[2:]).all(axis=1)
    return covered + _LINE_COST * float(inside.sum()) + _OUTSIDE_COST * outside


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _samples(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Return points along lines (m, 2), every few pixels."""
    found = [np.zeros((0, 2))]
    for line in lines:
        for start, end in pairwise(line):
            count = max(2, int(np.hypot(*(end - start)) / 6))
            found.append(np.linspace(start, end, count))
    return np.concatenate(found)
