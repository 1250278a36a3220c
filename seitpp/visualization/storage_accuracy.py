"""Accuracy over the bytes of the training data, after Figure 1 of SeiT++: the runs of one's own, and the paper's."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seitpp.visualization.label_placement import Label, place_labels
from seitpp.visualization.method_styles import method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_LABEL_CHARACTERS = 32
_PANEL_INCHES = (6.6, 4.8)
_FEW_DECADES = 2.6  # axes of fewer have ticks at 2 and 5, too
_PAPER_TITLE = "paper: ImageNet-1k, ViT-B/16"
_LEAST_DECADES = 1.0  # of an axis
_GAP = 10  # times as many bytes between one's own runs and the paper's as make two panels

Styles = Mapping[str, tuple[str, str]]  # marker and colour by method


class Point(NamedTuple):
    """A mark: one run, or several of one method.

    Attributes:
        name: To show beside it.
        method: By which marks and colours are chosen.
        num_bytes: Of the training data.
        score: Top-1 accuracy in per cent, a mean over runs.
        spread: Its standard deviation over runs, if there are several.
    """

    name: str
    method: str
    num_bytes: float
    score: float
    spread: float | None = None


# SeiT++ (arXiv 2312.10105), Table 1, and Table 2 for the smaller sets of tokens: ImageNet-1k, ViT-B/16.
PAPER_TABLE_1 = (
    Point("full pixels", "pixels", 140.0e9, 81.8),
    Point("random 39 %", "pixels", 54.6e9, 74.0),
    Point("C-score 38 %", "pixels", 53.3e9, 73.3),
    Point("JPEG quality 5", "pixels", 11.0e9, 74.6),
    Point("resolution x 0.2", "pixels", 9.6e9, 75.2),
    Point("SeiT", "SeiT", 1.4e9, 74.0),
    Point("SeiT++", "SeiT++ w/ MTM", 1.4e9, 77.8),
)
_FEWER_BYTES = (1.1e9, 0.8e9, 0.5e9, 0.3e9)
_TABLE_2 = {"SeiT": (70.2, 66.3, 59.7, 47.2), "SeiT++ w/ MTM": (76.5, 74.1, 70.0, 60.6)}
PAPER_TABLE_2 = tuple(
    Point("", method, num_bytes, score)
    for method, scores in _TABLE_2.items()
    for num_bytes, score in zip(_FEWER_BYTES, scores, strict=True)
)


def byte_size(count: float, digits: int = 3) -> str:
    """Return bytes in decimal units with so many figures, as `1.48 GB`."""
    size, unit = next(((count / size, unit) for size, unit in _UNITS if count >= size), (count, "B"))
    return f"{size:.{max(digits, len(f'{size:.0f}'))}g} {unit}"


def draw_storage_accuracy(
    points: Sequence[Point],
    front: Sequence[Point] = (),
    title: str | None = None,
    paper: bool = False,
    connected: bool = False,
) -> "Figure":
    """Draw one filled mark per point over a logarithmic axis of bytes, and the Pareto front as a line of steps.

    The paper's points are hollow marks with a legend of their own: on the same axes where bytes are comparable, else in
    a panel beside.

    Args:
        points: One's own.
        front: Those of them on the Pareto front.
        title: A line above the picture.
        paper: Whether to show the paper's points.
        connected: Whether a line joins one's own points of each method.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not points:
        raise ValueError("no points to draw, expected runs with bytes and a score")
    published = [*PAPER_TABLE_1, *PAPER_TABLE_2] if paper else []
    sizes = [point.num_bytes for point in points]
    is_far = paper and (max(sizes) * _GAP < 0.3e9 or min(sizes) > 140e9 * _GAP)
    panels = [(points, [] if is_far else published), *([([], published)] if is_far else [])]
    width = _PANEL_INCHES[0] * (1.7 if is_far else 1.25 if paper else 1)
    styles = method_styles(point.method for point in [*points, *published])
    figure = Figure(figsize=(width, _PANEL_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)  # which knows how large text is
    axes = figure.subplots(1, len(panels), squeeze=False).ravel()
    for panel, (own, others) in zip(axes, panels, strict=True):
        _draw_marks(panel, styles, own, front if own else (), others)
        for method, line in (_lines(own) if connected else {}).items():
            panel.plot(*line.T, color=styles[method][1], linewidth=1.2, zorder=2)
    _add_legends(figure, styles, points, bool(front), published)
    axes[0].set_ylabel("top-1 accuracy, %")
    if title:
        figure.suptitle(title)
    figure.draw_without_rendering()  # places are final then
    figure.set_layout_engine("none")
    for panel, (own, others) in zip(axes, panels, strict=True):
        _label(panel, own, front if own else (), others, connected)
    return figure


def _draw_marks(
    panel: "Axes", styles: Styles, own: Sequence[Point], front: Sequence[Point], paper: Sequence[Point]
) -> None:
    panel.set(xscale="log", xlabel="bytes of the training data")
    panel.grid(alpha=0.25)
    _set_limits(panel, [*own, *paper])
    if front:
        steps = _steps(panel, front)
        panel.plot(*steps.T, color="0.45", linewidth=1.2, zorder=1)
    for point in sorted(own, key=lambda one: one.score):  # the best lies on top of others
        marker, color = styles[point.method]
        panel.errorbar(point.num_bytes, point.score, point.spread, fmt="none", color=color, capsize=4, zorder=3)
        panel.plot(
            point.num_bytes,
            point.score,
            marker,
            color=color,
            markersize=8,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=3,
        )
    for method, line in _lines(paper).items():
        marker, color = styles[method]
        style = "none" if method == "pixels" else ":"
        panel.plot(
            *line.T, marker=marker, color=color, markerfacecolor="white", markersize=7, linestyle=style, zorder=2
        )


def _add_legends(
    figure: "Figure", styles: Styles, own: Sequence[Point], has_front: bool, paper: Sequence[Point]
) -> None:
    """Add what the marks mean below the panels, one's own at the left, the paper's at the right."""
    from matplotlib.lines import Line2D

    own_place, paper_place = ("left", "right") if own and paper else ("center", "center")
    if own:
        handles = {method or "unknown": _legend_mark(styles[method]) for method in _methods(styles, own)}
        if has_front:
            handles["Pareto front"] = Line2D([], [], color="0.45", linewidth=1.2)
        _add_legend(figure, handles, "runs here" if paper else None, own_place)
    if paper:
        marks = {method: _legend_mark(styles[method], markerfacecolor="white") for method in _methods(styles, paper)}
        _add_legend(figure, marks, _PAPER_TITLE, paper_place)


def _legend_mark(style: tuple[str, str], **options: str) -> "Line2D":
    from matplotlib.lines import Line2D

    marker, color = style
    return Line2D([], [], marker=marker, color=color, linestyle="", **options)


def _add_legend(figure: "Figure", handles: dict[str, "Line2D"], title: str | None, place: str) -> None:
    options = {"ncols": 3, "frameon": False, "fontsize": 8.5, "title_fontsize": 8.5}
    figure.legend(handles.values(), handles, title=title, loc=f"outside lower {place}", **options)


def _label(
    panel: "Axes", own: Sequence[Point], front: Sequence[Point], paper: Sequence[Point], connected: bool
) -> None:
    labels = [
        Label(point.num_bytes, point.score, _as_text(point), "black" if point in own else "0.4")
        for point in [*own, *paper]
        if point.name
    ]
    ends = [(point.num_bytes, point.score + side * point.spread) for point in own if point.spread for side in (-1, 1)]
    marks = np.array([point[2:4] for point in [*own, *paper]] + ends)
    lines = [line for method, line in _lines(paper).items() if method != "pixels"]
    lines += _lines(own).values() if connected else []
    place_labels(panel, labels, marks, [*lines, *([_steps(panel, front)] if front else [])])


def _as_text(point: Point) -> str:
    """Return a name as matplotlib shows it: cut in its middle, for ends tell runs apart; `$` would begin a formula."""
    name, kept = point.name, _LABEL_CHARACTERS // 2
    shown = name if len(name) <= _LABEL_CHARACTERS else f"{name[:kept]}\N{HORIZONTAL ELLIPSIS}{name[1 - kept :]}"
    return shown.replace("$", r"\$")


def _methods(styles: Styles, points: Sequence[Point]) -> list[str]:
    """Return the methods of points in the order of the styles."""
    present = {point.method for point in points}
    return [method for method in styles if method in present]


def _lines(points: Sequence[Point]) -> dict[str, np.ndarray]:
    """Return bytes and scores of the points of each method (n, 2), ascending."""
    return {
        method: np.array(sorted(point[2:4] for point in points if point.method == method))
        for method in dict.fromkeys(point.method for point in points)
    }


def _set_limits(panel: "Axes", points: Sequence[Point]) -> None:
    """Leave room for labels around the marks, and name bytes by their units."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    logs = np.log10([max(point.num_bytes, 1) for point in points])
    room = max(0.14 * np.ptp(logs), (_LEAST_DECADES - np.ptp(logs)) / 2)
    low, high = logs.min() - room, logs.max() + room
    lows = [point.score - (point.spread or 0) for point in points]
    highs = [point.score + (point.spread or 0) for point in points]
    margin = 0.12 * max(max(highs) - min(lows), 1)
    panel.set(xlim=(10**low, 10**high), ylim=(min(lows) - margin, max(highs) + margin))
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < _FEW_DECADES else (1,)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: byte_size(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _steps(panel: "Axes", front: Sequence[Point]) -> np.ndarray:
    """Return the line of the best accuracy that so many bytes reach, to the end of the panel, (m, 2)."""
    best = sorted({point.num_bytes: point.score for point in front}.items())
    corners = best[:1]
    for (_, before), (num_bytes, score) in pairwise(best):
        corners += [(num_bytes, before), (num_bytes, score)]
    corners.append((panel.get_xlim()[1], best[-1][1]))
    return np.array(corners)
