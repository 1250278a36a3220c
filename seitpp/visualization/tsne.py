"""Features as points of the plane by t-SNE, side by side for several ways to augment (SeiT++, Fig. A)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.manifold import TSNE

from seitpp.io.text import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_INCHES = (3.6, 4.0)
_PANELS_PER_ROW = 4
_LABEL_CHARACTERS = 24
_PERPLEXITY = 30.0
# Ten colours that people with any colour vision tell apart (M. Petroff, Accessible Color Sequences for Data
# Visualization, arXiv 2107.02270); further classes have them again, with other marks.
_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_MARKS = "os^Dv"


@dataclass(frozen=True)
class PointPanel:
    """Points of one panel.

    Attributes:
        title: Line above them.
        caption: Line below them.
        points: (N, 2).
        labels: Class of each, (N,).
        samples: Sample that each shows, by its index in the store, (N,).
        draws: Draw of the augmentations, (N,); -1 without augmentation.
        predicted: Class that a classifier says, (N,), or None.
    """

    title: str
    caption: str
    points: np.ndarray
    labels: np.ndarray
    samples: np.ndarray
    draws: np.ndarray
    predicted: np.ndarray | None = None

    @property
    def is_clean(self) -> np.ndarray:
        return self.draws < 0


def check_perplexity(perplexity: float | None, num_points: int) -> float:
    """Return the perplexity of t-SNE for so many points, by default 30, or a third of few points."""
    if perplexity is None:
        return min(_PERPLEXITY, (num_points - 1) / 3)
    if not 0 < perplexity < num_points:
        raise ValueError(
            f"perplexity is {perplexity:g}, and the smallest panel has {num_points} points; expected a number above 0 "
            f"and below {num_points}, or more samples"
        )
    return perplexity


def embed(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Embed features (N, C) in the plane, (N, 2), from their principal components on."""
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def draw_panels(panels: Sequence[PointPanel], names: Mapping[int, str], title: str | None = None) -> "Figure":
    """Draw panels in a row, four at most, a colour per class; clean samples have a dark outline.

    Args:
        panels: What to draw.
        names: Name of each class, by its label.
        title: A line above all panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(len(panels), _PANELS_PER_ROW)
    rows = -(-len(panels) // columns)
    styles = {
        label: dict(color=_COLOURS[number % len(_COLOURS)], marker=_MARKS[number // len(_COLOURS) % len(_MARKS)])
        for number, label in enumerate(names)
    }
    legend = {cut(name, _LABEL_CHARACTERS).replace("$", r"\$"): dict(styles[label]) for label, name in names.items()}
    if any(not panel.is_clean.all() for panel in panels):
        legend["not augmented"] = dict(color="white", marker="o", markeredgecolor="black")
    per_row = max(1, min(len(legend), int(_PANEL_INCHES[0] * columns / (0.5 + 0.085 * max(map(len, legend))))))
    height = _PANEL_INCHES[1] * rows + 0.25 * -(-len(legend) // per_row)
    figure = Figure(figsize=(_PANEL_INCHES[0] * columns, height), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, panel in zip(places, panels, strict=False):
        _draw_points(place, panel, styles)
    for place in places[len(panels) :]:
        place.remove()
    shown = _read_by_rows(list(legend), per_row)
    handles = [Line2D([], [], linestyle="", **legend[label]) for label in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=per_row, frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def _read_by_rows(labels: list[str], per_row: int) -> list[str]:
    """Return labels in the order that a legend, which matplotlib fills by columns, shows row after row."""
    return [label for column in range(per_row) for label in labels[column::per_row]]


def _draw_points(place: "Axes", panel: PointPanel, styles: Mapping[int, dict[str, str]]) -> None:
    mixed = not panel.is_clean.all()
    for is_clean in (False, True):  # clean ones lie on top
        for label, style in styles.items():
            points = panel.points[(panel.labels == label) & (panel.is_clean == is_clean)]
            outline = is_clean and mixed
            place.scatter(
                points[:, 0],
                points[:, 1],
                s=26 if outline else 12,
                color=style["color"],
                marker=style["marker"],
                edgecolors="black" if outline else None,
                linewidths=0.8 if outline else 0,
            )
    place.set(title=panel.title, xlabel=panel.caption, xticks=[], yticks=[])


POINT_COLUMNS = ("panel", "class", "label", "sample", "draw", "predicted", "x", "y")


def point_rows(panels: Sequence[PointPanel], names: Mapping[int, str]) -> Iterator[tuple]:
    """Yield a row of `POINT_COLUMNS` for each point; draw and prediction are empty where there is none."""
    for panel in panels:
        for row, (x, y) in enumerate(panel.points.tolist()):
            label, draw = int(panel.labels[row]), int(panel.draws[row])
            predicted = "" if panel.predicted is None else int(panel.predicted[row])
            shown_draw = "" if draw < 0 else draw
            yield (
                panel.title,
                names[label],
                label,
                int(panel.samples[row]),
                shown_draw,
                predicted,
                f"{x:.6g}",
                f"{y:.6g}",
            )
