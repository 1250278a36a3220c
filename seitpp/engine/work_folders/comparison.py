"""Runs of classifiers side by side: the bytes that each trained on, and its score."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.engine.resuming import numbered_checkpoints
from seitpp.engine.work_folders.data_bytes import DataPlaces
from seitpp.engine.work_folders.finding import config_of_run
from seitpp.engine.work_folders.measuring import TrainingData
from seitpp.engine.work_folders.methods import method_of, needed_beside
from seitpp.engine.work_folders.scores import Score, progress_of, read_score
from seitpp.evaluation.pareto import pareto_front
from seitpp.io.command_line import error_line
from seitpp.io.text import shorten
from seitpp.visualization.curves import Scalars, read_scalars, run_names


@dataclass(frozen=True)
class Run:
    """One run of a classifier.

    Attributes:
        name: Of its work folder.
        folder: The work folder.
        method: `pixels`, `SeiT` or `SeiT++`, perhaps with ` w/ MTM`; empty where that is not known.
        data: What it trained on; None where that cannot be told.
        score: None without one.
        notes: What a reader must know, a line for each.
    """

    name: str
    folder: Path
    method: str
    data: TrainingData | None
    score: Score | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One row: a run, or several that differ in their seeds.

    Attributes:
        name: Of the run or the group.
        runs: The runs, at least one.
        is_front: Whether no other row has at least its score with no more bytes, and is better in one of the two.
    """

    name: str
    runs: tuple[Run, ...]
    is_front: bool = False

    @property
    def method(self) -> str:
        """The method of all its runs."""
        return self.runs[0].method

    @property
    def made(self) -> str:
        """What was done to the images of its first run, in words."""
        return "" if self.runs[0].data is None else self.runs[0].data.made

    @property
    def num_bytes(self) -> int | None:
        """Bytes of the training data, the mean over runs; None where one of them is not known."""
        return _mean([None if run.data is None else run.data.num_bytes for run in self.runs])

    @property
    def num_code_bytes(self) -> int | None:
        """Bytes of the codes alone."""
        return _mean([None if run.data is None else run.data.num_code_bytes for run in self.runs])

    @property
    def num_images(self) -> int | None:
        """Images that were used."""
        return _mean([None if run.data is None else run.data.num_images for run in self.runs])

    @property
    def is_computed(self) -> bool:
        """Whether the bytes are a share of those on disk."""
        return any(run.data is not None and run.data.is_computed for run in self.runs)

    @property
    def scores(self) -> list[float]:
        """Scores in per cent of those runs that have one."""
        return [run.score.value for run in self.runs if run.score is not None]

    @property
    def score(self) -> float | None:
        """Their mean."""
        return mean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """Their standard deviation; None below two."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """All rows, those of the fewest bytes last, and what was left out.

    Attributes:
        entries: The rows.
        skipped: Work folders that are no runs of classifiers, with the reason.
    """

    entries: list[Entry]
    skipped: list[str]

    @property
    def drawable(self) -> list[Entry]:
        """Rows that have both bytes and a score."""
        return [entry for entry in self.entries if entry.num_bytes is not None and entry.score is not None]

    def renamed(self, names: Mapping[str, str]) -> "Comparison":
        """Return it with other names for some rows; one that is not there is a `ValueError`."""
        known = [entry.name for entry in self.entries]
        if unknown := sorted(set(names) - set(known)):
            raise ValueError(f"there is no run or group {unknown[0]!r}, only {shorten(known, 12)}")
        entries = [replace(entry, name=names.get(entry.name, entry.name)) for entry in self.entries]
        if len({entry.name for entry in entries}) < len(entries):
            raise ValueError("two rows would have the same name; give each label once")
        return replace(self, entries=entries)


def compare_runs(
    folders: Sequence[Path],
    places: DataPlaces,
    *,
    key: str = "accuracy/top1",
    validation: str = "last",
    group: re.Pattern | None = None,
) -> Comparison:
    """Read the runs in some work folders and put them side by side.

    Args:
        folders: Work folders.
        places: Where the paths of their configs lead to.
        key: Name of the score.
        validation: `last` or `best`: which validation counts where there was no test.
        group: What tells the seeds of one method apart: runs whose names are the same without it become one row.

    Raises:
        ValueError: None of the runs has both bytes and a score, or a group holds runs of several methods.
    """
    found = [
        _read_run(name, folder, places, key, validation)
        for name, folder in zip(run_names(folders), folders, strict=True)
    ]
    runs = [one for one in found if isinstance(one, Run)]
    skipped = [_printable(one) for one in found if isinstance(one, str)]
    entries = _grouped(runs, group)
    usable = [entry for entry in entries if entry.num_bytes is not None and entry.score is not None]
    if not usable:
        reasons = [*skipped, *(f"{run.name}: {note}" for run in runs for note in run.notes)]
        raise ValueError(f"none of {len(folders)} work folders has a classifier's score and its bytes. {_few(reasons)}")
    on_front = pareto_front([entry.num_bytes for entry in usable], [entry.score for entry in usable])
    front = {entry.name for entry, is_on in zip(usable, on_front, strict=True) if is_on}
    entries = [Entry(entry.name, entry.runs, entry.name in front) for entry in entries]
    entries.sort(key=lambda one: (one.num_bytes is None, -(one.num_bytes or 0), -(one.score or 0), one.name))
    return Comparison(entries, skipped)


def _read_run(name: str, folder: Path, places: DataPlaces, key: str, validation: str) -> Run | str:
    """Return a run of a classifier, or why it is none."""
    notes: list[str] = []
    try:
        config = config_of_run(folder)
    except (ValueError, OSError) as error:
        return f"{name}: {error_line(error)}"
    kind = model_kind(config)
    if kind is not ModelKind.CLASSIFIER:
        return f"{name}: the run of {kind.value}, not of a classifier"
    scalars = _scalars(folder, notes)
    if "lr" not in scalars and not numbered_checkpoints(folder):
        return f"{name}: nothing was trained in it; it holds a test, or a start that ended before its first step"
    data = None
    try:
        data = places.measure(config, folder)
    except (ValueError, OSError) as error:
        notes.append(f"bytes not known: {error_line(error)}")
    score, more = read_score(folder, config, scalars, key, validation)
    notes += more
    if unfinished := progress_of(folder, config, scalars):
        notes.append(unfinished)

    def find(path: str) -> str:
        return places.find(path, folder, config.get("work_dir"))

    method = "" if data is None else method_of(config, data.is_pixels, find)
    notes += needed_beside(config, find)
    return Run(name, folder, method, data, score, tuple(map(_printable, notes)))


def _scalars(folder: Path, notes: list[str]) -> Scalars:
    try:
        return read_scalars(folder)
    except (ValueError, OSError) as error:
        notes.append(error_line(error))
        return {}


def _grouped(runs: Sequence[Run], group: re.Pattern | None) -> list[Entry]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        name = run.name if group is None else group.sub("", run.name) or run.name
        found.setdefault(name, []).append(run)
    for name, members in found.items():
        kinds = sorted({f"{run.method} on {run.data.num_images:,} images" for run in members if run.data is not None})
        if len(kinds) > 1:
            names = ", ".join(run.name for run in members)
            raise ValueError(
                f"--group makes one row, {name!r}, of {names}, which are not alike: {', '.join(kinds)}; give a pattern "
                "that matches only what differs between seeds, such as '-seed[0-9]+'"
            )
    return [Entry(name, tuple(members)) for name, members in found.items()]


def _mean(values: Sequence[int | None]) -> int | None:
    return None if None in values else round(float(np.mean(values)))


def _printable(text: str) -> str:
    """Return text of other people's files without what would control a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _few(lines: Sequence[str], most: int = 6) -> str:
    rest = f"; and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + rest


def as_row(run: Run, entry: Entry) -> Mapping[str, Any]:
    """Return all that is known of a run, for tables that programs read."""
    data, score = run.data, run.score
    return {
        "run": run.name,
        "group": entry.name,
        "work_folder": str(run.folder),
        "method": run.method,
        "data": None if data is None else ", ".join(data.paths),
        "made": None if data is None else data.made,
        "images": None if data is None else data.num_images,
        "bytes": None if data is None else data.num_bytes,
        "bytes_computed": None if data is None else data.is_computed,
        "code_bytes": None if data is None else data.num_code_bytes,
        "top1": None if score is None else score.value,
        "top1_raw": None if score is None else score.raw,
        "score_of": None if score is None else score.described,
        "front": entry.is_front,
        "notes": "; ".join(run.notes),
    }
