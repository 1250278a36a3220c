"""Scores of methods with every seed visible: a row per method, a panel per column of a results table."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from seitpp.visualization.method_styles import method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A score per seed in %, by column, by method; cells without runs are left out.
SeedScores = Mapping[str, Mapping[str, Sequence[float]]]

_PANEL_INCHES, _LETTER_INCHES = 2.3, 0.08  # widths of a panel, and of a letter of the methods' names
_ROW_INCHES, _FRAME_INCHES = 0.34, 0.85  # heights of a row, and of what stands above and below the panels
_LEAST_POINTS = 2.0  # percentage points that a panel spans
_MARGIN = 0.08  # of a panel's width, beside its scores
_NUMBER = 0.3  # of a panel's width, for the mean in figures
_APART, _BAR = 0.26, 0.4  # in rows: seeds of equal scores lie above each other; half the length of the mean's bar


def draw_seed_scores(scores: SeedScores, columns: Sequence[str]) -> "Figure":
    """Draw a mark per seed, and a bar at their mean, which is also written at the right.

    All panels span as many percentage points, each around its own scores, so that distances can be compared.

    Args:
        scores: By the methods' names, in the order of the rows.
        columns: Titles of the panels; those without any score are left out.

    Raises:
        ValueError: There is no score.
    """
    from matplotlib.figure import Figure

    found = {column: [one for cells in scores.values() for one in cells.get(column, ())] for column in columns}
    shown = [column for column in columns if found[column]]
    if not shown:
        raise ValueError("there are no scores to draw, expected one per seed of at least one method")
    span = max(_LEAST_POINTS, *(max(found[column]) - min(found[column]) for column in shown))
    names = _LETTER_INCHES * max(map(len, scores))
    size = (names + _PANEL_INCHES * len(shown), _FRAME_INCHES + _ROW_INCHES * len(scores))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True).ravel()
    for panel, column in zip(panels, shown, strict=True):
        middle = (max(found[column]) + min(found[column])) / 2
        left = middle - span * (0.5 + _MARGIN)
        panel.set(title=column, xlim=(left, left + span * (1 + 2 * _MARGIN + _NUMBER)), xlabel="top-1, %")
        panel.grid(alpha=0.25)
        _draw_column(panel, scores, column)
    panels[0].set_yticks(range(len(scores)), [name.replace("$", r"\$") for name in scores])
    panels[0].set_ylim(len(scores) - 0.5, -0.5)  # the first row at the top
    return figure


def _draw_column(panel: "Axes", scores: SeedScores, column: str) -> None:
    styles = method_styles(scores)
    for row, (method, cells) in enumerate(scores.items()):
        marker, color = styles[method]
        values = cells.get(column, ())
        if values:
            middle = (len(values) - 1) / 2
            rows = [row + _APART * (seed - middle) / max(middle, 1) for seed in range(len(values))]
            panel.plot(values, rows, marker, color=color, markersize=6, markeredgecolor="white", markeredgewidth=0.5)
            panel.vlines(mean(values), row - _BAR, row + _BAR, color=color, linewidth=1.6)
        text = f"{mean(values):.1f}" if values else "not run"
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
        panel.annotate(text, (0.97, row), fontsize=9, color="black" if values else "0.6", **place)
