"""A confusion matrix as a picture: values and names where they can be read, colours alone where classes are many."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seitpp.io.text import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MOST_VALUES = 25  # classes up to which each cell says its value
_MOST_NAMES = 80  # classes up to which each row and column has its name
_MOST_CELLS = 500  # rows and columns that are drawn: of more classes some share a cell, so that it can be seen
_NAME_CHARACTERS = 24
_INCHES = (5.0, 10.0)  # least and most length of a side
_INCHES_PER_CLASS = 0.2
_GAMMA = 0.5  # of colours: a share of 1 % must not look like none


def confusion_figure(
    counts: np.ndarray, names: Sequence[str], normalize: bool = True, title: str | None = None, cmap: str = "viridis"
) -> "Figure":
    """Draw a confusion matrix.

    Args:
        counts: (C, C), a row per true class, a column per predicted one.
        names: Class names, C.
        normalize: Whether colours and values are shares of each row, in per cent; else counts. Rows of classes without
            a sample are grey.
        title: A line above.
        cmap: matplotlib's name of a colour map.
    """
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    if cmap not in colormaps:
        raise ValueError(f"{cmap!r} is no colour map of matplotlib, expected one such as viridis, magma or Blues")
    total, support = len(counts), counts.sum(axis=1, keepdims=True)
    values = 100 * counts / np.maximum(support, 1) if normalize else counts.astype(np.float64)
    block = -(-total // _MOST_CELLS)
    shown = np.where(support == 0, np.nan, values)
    shown = _largest_of_blocks(shown, block)
    side = min(max(_INCHES_PER_CLASS * total, _INCHES[0]), _INCHES[1])
    figure = Figure(figsize=(side + 1.5, side + 0.5), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps[cmap].with_extremes(bad="lightgrey")
    largest = 100 if normalize else max(1, np.nanmax(shown, initial=1))
    # The edges of cells are numbers of classes, whatever a cell stands for.
    extent = (-0.5, block * len(shown) - 0.5, block * len(shown) - 0.5, -0.5)
    norm = PowerNorm(_GAMMA, vmin=0, vmax=largest)
    image = axes.imshow(shown, cmap=colours, norm=norm, extent=extent, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("% of the true class" if normalize else "samples")
    of_blocks = f" (the largest of {block} x {block} classes per cell)" if block > 1 else ""
    axes.set(xlabel="predicted class" + of_blocks, ylabel="true class", title=title)
    if total <= _MOST_NAMES:
        size = 9 if total <= 40 else 6
        labels = [cut(str(name), _NAME_CHARACTERS) for name in names]
        axes.set_xticks(range(total), labels, fontsize=size, rotation=90, parse_math=False)
        axes.set_yticks(range(total), labels, fontsize=size, parse_math=False)
    if total <= _MOST_VALUES:
        _write_values(axes, values, counts, normalize, image)
    return figure


def _largest_of_blocks(values: np.ndarray, block: int) -> np.ndarray:
    """Return the largest value of each block x block cells; nan where there is none."""
    if block == 1:
        return values
    padding = -len(values) % block
    padded = np.pad(np.nan_to_num(values, nan=-1), (0, padding), constant_values=-1)
    side = len(padded) // block
    largest = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return np.where(largest < 0, np.nan, largest)


def _write_values(axes: "Axes", values: np.ndarray, counts: np.ndarray, normalize: bool, image: "AxesImage") -> None:
    """Write each value that is not 0 into its cell, dark on light and light on dark."""
    size = 9 if len(counts) <= 15 else 6
    for row, column in np.argwhere(counts):
        text = f"{values[row, column]:.1f}" if normalize else f"{counts[row, column]:,}"
        red, green, blue, _ = image.cmap(image.norm(values[row, column]))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="black" if light else "white")
