"""Accuracy over the severity of corruptions, one panel per corruption and one line per classifier."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Severity and top-1 in %, by corruption; 0 are clean images.
SeverityScores = Mapping[str, Sequence[tuple[int, float]]]

_PANEL_INCHES = (3.6, 3.0)


def draw_severity_curves(
    classifiers: Mapping[str, SeverityScores], colors: Mapping[str, str] | None = None
) -> "Figure":
    """Draw top-1 over severity, from the clean images (0) on.

    Args:
        classifiers: Scores by the name to show.
        colors: Of each classifier; all others take matplotlib's, one after the other.

    Raises:
        ValueError: There are no scores at any severity.
    """
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(title for scores in classifiers.values() for title in scores))
    if not titles:
        raise ValueError("there are no scores at several severities to draw")
    width, height = _PANEL_INCHES
    worst = max(point[0] for scores in classifiers.values() for points in scores.values() for point in points)
    figure = Figure(figsize=(width * len(titles), height + 0.3), layout="constrained")
    panels = figure.subplots(1, len(titles), squeeze=False, sharey=True).ravel()
    for panel, title in zip(panels, titles, strict=True):
        for number, (name, scores) in enumerate(classifiers.items()):
            points = scores.get(title, ())
            severities, values = [point[0] for point in points], [point[1] for point in points]
            label = name.replace("$", r"\$") if len(classifiers) > 1 else None
            color = (colors or {}).get(name, f"C{number}")
            panel.plot(severities, values, marker="o", markersize=4, linewidth=1.4, color=color, label=label)
        panel.set(title=title, xlabel="severity (0: clean)", xticks=range(worst + 1), ylim=(0, 100))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("top-1, %")
    if len(classifiers) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
