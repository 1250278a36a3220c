"""Logged numbers of runs as curves: what mmengine writes to `vis_data/scalars.json`, read and drawn."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seitpp.io.text import cut, did_you_mean, nearest_names, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Steps and values of each logged number.
Scalars = Mapping[str, tuple[np.ndarray, np.ndarray]]

_LOGS = ("scalars.json", "vis_data/scalars.json", "*/vis_data/scalars.json")
_TIMESTAMP = re.compile(r"\d{8}_\d{6}")
_NO_SCORES = {"step", "iter", "epoch"}
_PANEL_INCHES = (4.8, 3.4)
_ONE_PANEL_INCHES = (6.8, 4.4)
_PANELS_PER_ROW = 3
_LABEL_CHARACTERS = 48
_MARKED_POINTS = 40  # curves of fewer points show them


def read_scalars(work_dir: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read all numbers that the runs of a work folder logged.

    A resumed run goes on where the one before it was killed: what it logs takes the place of what was logged from its
    first step on. Lines at the end of a file that a killed run left damaged are skipped.

    Args:
        work_dir: A work folder, the folder of one of its runs, or a log itself (`scalars.json`).

    Returns:
        By key, in alphabetical order: steps, ascending, and values. Steps are epochs, with fractions, where the run
        counts epochs (then there is a key `epoch`), and otherwise iterations. A key that training and validation both
        log, such as `loss` or `time`, stands for training; validation's is `val/loss`.

    Raises:
        FileNotFoundError: The folder does not exist, or has no log.
        ValueError: A log is damaged before its end, or holds no numbers.
    """
    epoch_iterations: float | None = None
    points: list[tuple[float, bool, dict[str, Any]]] = []
    for path in _log_files(Path(work_dir)):
        lines = _read_lines(path)
        epoch_iterations = _iterations_per_epoch(lines, epoch_iterations)
        found = _points(lines, epoch_iterations)
        if found:
            first = min(step for step, _, _ in found)
            points = [*(point for point in points if point[0] < first), *found]
    trained = {key for _, is_training, line in points if is_training for key in line}
    series: dict[str, dict[float, float]] = {}
    for step, is_training, line in points:
        for key, value in line.items():
            series.setdefault(key if is_training or key not in trained else f"val/{key}", {})[step] = value
    if not series:
        raise ValueError(f"{work_dir} has a log without a number: its run ended before the first was written")
    return {
        key: (np.array(sorted(by_step)), np.array([by_step[s] for s in sorted(by_step)]))
        for key, by_step in sorted(series.items())
    }


def step_unit(scalars: Scalars) -> str:
    """Return what the steps of a run are: `epoch` or `iteration`."""
    return "epoch" if "epoch" in scalars else "iteration"


def check_keys(runs: Mapping[str, Scalars], keys: Sequence[str]) -> None:
    """Refuse keys that no run logged, naming those that look alike."""
    known = sorted({key for scalars in runs.values() for key in scalars} - _NO_SCORES)
    for key in keys:
        if key not in known:
            meant = did_you_mean(nearest_names(key, known)) or f"; logged are {shorten(known, 20)}"
            raise ValueError(f"no run logged {key!r}{meant}")


def draw_curves(
    runs: Mapping[str, Scalars],
    keys: Sequence[str],
    title: str | None = None,
    groups: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw logged numbers of several runs, one panel per key, one colour per run or group of runs.

    Where validation logged a key of training's too (`val/loss` beside `loss`), it is dashed in the same panel.

    Args:
        runs: What `read_scalars` returns, by the name to show.
        keys: Keys, each logged by one run at least.
        title: A line above all panels.
        groups: Name of the group that each run belongs to, such as the seeds of a method.
        colors: Of each run or group; all others take matplotlib's, one after the other.

    Raises:
        ValueError: There are no keys, or none of the runs logged one of them.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if not keys:
        raise ValueError("no keys to draw, expected names of logged numbers, such as 'loss'")
    check_keys(runs, keys)
    columns = 2 if len(keys) == 4 else min(len(keys), _PANELS_PER_ROW)
    rows = -(-len(keys) // columns)
    groups = groups or {name: name for name in runs}
    shown = dict.fromkeys(groups[name] for name in runs)
    colors = colors or {}
    legend = {group: Line2D([], [], color=colors.get(group, f"C{number % 10}")) for number, group in enumerate(shown)}
    if any({key, f"val/{key}"} <= set(scalars) for key in keys for scalars in runs.values()):
        legend["validation"] = Line2D([], [], color="gray", linestyle="--", marker=".")
    labels = [_label(name) for name in legend]
    width, height = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows) if len(keys) > 1 else _ONE_PANEL_INCHES
    entries_per_row = max(1, int(width / (0.6 + 0.085 * max(map(len, labels)))))  # inches of a line and of a letter
    legend_inches = 0.25 * -(-len(legend) // entries_per_row)
    figure = Figure(figsize=(width, height + legend_inches), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, key in zip(panels, keys, strict=False):
        for (name, scalars), logged in product(runs.items(), (key, f"val/{key}")):
            if logged in scalars:
                steps, values = scalars[logged]
                marker, style = "." if len(steps) < _MARKED_POINTS else "", "-" if logged == key else "--"
                panel.plot(steps, values, style, marker=marker, linewidth=1.2, color=legend[groups[name]].get_color())
        units = sorted({step_unit(scalars) for scalars in runs.values() if key in scalars})
        panel.set(title=_label(key), xlabel=" or ".join(units))
        panel.grid(alpha=0.3)
    for panel in panels[len(keys) :]:
        panel.remove()
    figure.legend(legend.values(), labels, loc="outside lower center", ncols=entries_per_row, frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def curve_rows(runs: Mapping[str, Scalars], keys: Sequence[str]) -> Iterator[tuple[str, str, str, float, float]]:
    """Yield run, key, unit of the steps, step and value of each point of the curves that `draw_curves` draws."""
    for (name, scalars), key in product(runs.items(), keys):
        for logged in (key, f"val/{key}"):
            for step, value in zip(*scalars.get(logged, ((), ())), strict=True):
                yield name, logged, step_unit(scalars), float(step), float(value)


def iteration_times(scalars: Scalars, include_outliers: bool = False) -> dict[str, Any]:
    """Return how long the training iterations of a run took, in seconds.

    The first logged value of every epoch, in which networks and workers warm up, is left out where the epoch has more
    than one; otherwise that of the first epoch.

    Returns:
        `mean`, `deviation` and `data_time` (mean wait for data; None if not logged) over logged values, and
        `fastest_epoch` and `slowest_epoch`: number and mean, None in a run by iteration.

    Raises:
        ValueError: The run logged no times.
    """
    if "time" not in scalars:
        raise ValueError("no iteration times are logged; add mmengine's IterTimerHook to the run's default_hooks")
    times = scalars["time"][1]
    epochs = scalars["epoch"][1].astype(int) if "epoch" in scalars else np.zeros(len(times), int)
    kept = np.ones(len(times), bool)
    if not include_outliers and len(times) > 1:
        firsts = np.unique(epochs, return_index=True)[1]
        several = [first for first in firsts if (epochs == epochs[first]).sum() > 1]
        kept[several or [0]] = False
    means = {int(epoch): float(times[kept & (epochs == epoch)].mean()) for epoch in np.unique(epochs[kept])}
    by_epoch = sorted(means.items(), key=lambda pair: pair[1]) if "epoch" in scalars else []
    waits = scalars.get("data_time")
    return {
        "mean": float(times[kept].mean()),
        "deviation": float(times[kept].std()),
        "data_time": None if waits is None else float(waits[1][kept].mean()),
        "fastest_epoch": by_epoch[0] if by_epoch else None,
        "slowest_epoch": by_epoch[-1] if by_epoch else None,
    }


def run_names(places: Sequence[str | Path]) -> list[str]:
    """Return a name for each run: that of its work folder, with as many of the folders above as tell them apart."""
    parts = []
    for place in map(Path, places):
        parents = list(place.absolute().parts)
        if place.suffix == ".json":
            parents.pop()
        while len(parents) > 1 and (parents[-1] == "vis_data" or _TIMESTAMP.fullmatch(parents[-1])):
            parents.pop()
        parts.append(parents)
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]


def _label(name: str) -> str:
    """Return a name as matplotlib shows it: `$` would begin a formula, and labels that begin with `_` are left out."""
    label = cut(name, _LABEL_CHARACTERS).replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label


def _log_files(place: Path) -> list[Path]:
    """Return the logs of all runs, oldest first: mmengine names their folders by their time."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FileNotFoundError(f"work folder {place} does not exist")
    for pattern in _LOGS:
        if found := sorted(place.glob(pattern)):
            return found
    raise FileNotFoundError(
        f"{place} has no scores: there is no {_LOGS[-1]} in it; name the work folder of a run that has logged something"
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a log, without what is damaged at its end."""
    lines, damaged = [], None
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            damaged = damaged or number
        elif damaged is not None:
            raise ValueError(f"{path}, line {damaged}, is no line of a log: expected one JSON object per line")
        else:
            lines.append(line)
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _iterations_per_epoch(lines: Sequence[dict[str, Any]], before: float | None) -> float | None:
    """Return the iterations of an epoch, `before` where the runs before had that many; None where none are counted.

    Every epoch is logged at the same iterations, so that the first lines of two epochs lie whole epochs apart. Of a
    single epoch, the number of the runs before must fit, or the last line has to do.
    """
    trained = [line for line in lines if _is_number(line.get("iter")) and _is_number(line.get("epoch"))]
    if not trained:
        return before
    firsts = {line["epoch"]: line["iter"] for line in reversed(trained)}
    low, high = min(firsts), max(firsts)
    if low != high and firsts[high] > firsts[low]:
        return (firsts[high] - firsts[low]) / (high - low)
    if before is not None and (high - 1) * before < trained[-1]["iter"] <= high * before:
        return before
    return trained[-1]["iter"] / max(high, 1)


def _points(lines: Sequence[dict[str, Any]], epoch_iterations: float | None) -> list[tuple[float, bool, dict]]:
    """Return step, whether it is training's, and the numbers of each line."""
    found, iteration = [], 0
    for line in lines:
        is_training = _is_number(line.get("iter"))
        if is_training:
            iteration = line["iter"]
            step = iteration / epoch_iterations if epoch_iterations else iteration
        elif _is_number(line.get("step")):
            # In a run by iteration a validation may carry the number of its epoch, by mmengine's defaults.
            step = line["step"] if epoch_iterations else max(line["step"], iteration)
        else:
            continue
        prefix = "train/" if is_training else "val/"  # of logs with hierarchy
        numbers = {key.removeprefix(prefix): float(value) for key, value in line.items() if _is_number(value)}
        kept = {"step"} if is_training else _NO_SCORES
        found.append((float(step), is_training, {key: value for key, value in numbers.items() if key not in kept}))
    return found
