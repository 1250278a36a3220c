"""The study's charts, from the records of its runs alone."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np

from seitpp.benchmarking.study.methods import ENCODERS, HEADLINE, METHODS
from seitpp.benchmarking.study.plan import Study
from seitpp.benchmarking.study.records import Run
from seitpp.io.atomic_write import written_whole
from seitpp.visualization.curves import Scalars, draw_curves
from seitpp.visualization.method_styles import method_styles
from seitpp.visualization.seed_scores import draw_seed_scores
from seitpp.visualization.severity_curves import draw_severity_curves
from seitpp.visualization.storage_accuracy import Point, draw_storage_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Runs = Mapping[str, Run]

_DPI = 110
_CORRUPTIONS = {"gaussian_noise": "Gaussian noise", "gaussian_blur": "Gaussian blur"}


def make_figures(runs: Runs, study: Study, folder: Path) -> list[Path]:
    """Write the charts `study_SET_*.png` into a folder and return their paths.

    A chart of which nothing was run is not written, and one that is there is left alone.

    Args:
        runs: Records by the names that the study gives.
        study: Says which runs there are.
        folder: Is made if need be.
    """
    drawn = {
        "scores": _draw_scores(runs, study),
        "storage": _draw_storage(runs, study),
        "losses": _draw_losses(runs, study),
        "robustness": _draw_robustness(runs, study),
    }
    paths = []
    for what, figure in drawn.items():
        if figure is not None:
            paths.append(figure_path(study, folder, what))
            with written_whole(paths[-1]) as temporary:
                figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})
    return paths


def figure_path(study: Study, folder: Path, what: str) -> Path:
    """Return where a figure of a set of images belongs."""
    return folder / f"study_{study.set.name}_{what}.png"


def _draw_scores(runs: Runs, study: Study) -> "Figure | None":
    """Draw the table of scores with every seed; methods without any score are left out."""
    scores = {
        method.title: {_percent(one): [run.test for run in study.tested(runs, name, one)] for one in study.fractions}
        for name, method in METHODS.items()
    }
    scores = {title: cells for title, cells in scores.items() if any(cells.values())}
    return draw_seed_scores(scores, [_percent(one) for one in study.fractions]) if scores else None


def _draw_storage(runs: Runs, study: Study) -> "Figure | None":
    """Draw the headline's scores over bytes; the lowest mark of those of as many bytes has the share beside it."""
    points = []
    for fraction in study.fractions:
        of_share = []
        for name in HEADLINE:
            found = study.tested(runs, name, fraction)
            sizes = [run.num_bytes for run in found if run.num_bytes is not None]
            if sizes:
                scores = [run.test for run in found]
                spread = stdev(scores) if len(scores) > 1 else None
                of_share.append(Point("", METHODS[name].title, mean(sizes), mean(scores), spread))
        points += _named(of_share, _percent(fraction))
    return draw_storage_accuracy(points, connected=True) if points else None


def _named(points: list[Point], share: str) -> list[Point]:
    lowest = {point.num_bytes: point for point in sorted(points, key=lambda one: -one.score)}
    return [point._replace(name=share if lowest[point.num_bytes] is point else "") for point in points]


def _draw_losses(runs: Runs, study: Study) -> "Figure | None":
    """Draw training losses at the main share: of classifiers in one panel, and of the MTM that they start from."""
    seeds, share = range(study.size.seeds), study.size.main_share
    of_classifiers = {
        METHODS[name].title: [runs.get(study.score_name(name, share, seed)) for seed in seeds] for name in HEADLINE
    }
    of_mtm = {
        METHODS[one.method].title: [runs.get(study.encoder_name(name, share, seed)) for seed in seeds]
        for name, one in ENCODERS.items()
    }
    panels = {
        f"training loss of the classifiers, {_percent(share)}": of_classifiers,
        f"loss of MTM, {_percent(share)} (nats per hidden code)": of_mtm,
    }
    curves: dict[str, Scalars] = {}
    groups: dict[str, str] = {}
    for panel, of_panel in panels.items():
        for title, found in of_panel.items():
            for run in found:
                if run is not None and run.curve:
                    curves[run.name] = {panel: tuple(np.array(run.curve).T)}
                    groups[run.name] = title
    if not curves:
        return None
    colors = {title: color for title, (_, color) in method_styles([*of_classifiers, *of_mtm]).items()}
    keys = [panel for panel in panels if any(panel in scalars for scalars in curves.values())]
    return draw_curves(curves, keys, groups=groups, colors=colors)


def _draw_robustness(runs: Runs, study: Study) -> "Figure | None":
    """Draw top-1 over the severities of noise and blur, the clean images at 0."""
    classifiers = {}
    for name in HEADLINE:
        run = runs.get(study.robustness_name(name))
        metrics = {} if run is None else run.metrics
        levels = {0: "clean", **{severity: str(severity) for severity in study.size.severities}}
        scores = {
            title: [
                (severity, metrics[key])
                for severity, level in levels.items()
                if (key := f"robustness/{f'{kind}/{level}' if severity else level}") in metrics
            ]
            for kind, title in _CORRUPTIONS.items()
        }
        if any(len(points) > 1 for points in scores.values()):
            classifiers[METHODS[name].title] = scores
    styles = method_styles(classifiers)
    colors = {title: color for title, (_, color) in styles.items()}
    return draw_severity_curves(classifiers, colors) if classifiers else None


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"
