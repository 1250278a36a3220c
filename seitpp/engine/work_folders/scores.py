"""The score of a finished run: of its test where there was one, else of its validation; and how far the run went."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seitpp.engine.resuming import numbered_checkpoints
from seitpp.io.config_file import type_name
from seitpp.io.text import shown
from seitpp.io.untrusted import parse_json_object, read_file
from seitpp.visualization.curves import Scalars, step_unit

_METRICS = "metrics.json"  # where `tools/test.py --out` is told to write
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Score:
    """A score in per cent.

    Attributes:
        value: Of the weights that count: the moving average where the run has one.
        raw: Of the weights without averaging, where both were scored.
        source: `test`, or `last` or `best validation` with its epoch or iteration.
        weights: `average` or `raw`.
    """

    value: float
    raw: float | None
    source: str
    weights: str

    @property
    def described(self) -> str:
        """Where it comes from, in words."""
        return f"{self.source}, {self.weights} weights"


def read_score(
    folder: Path, config: Mapping[str, Any], scalars: Scalars, key: str, validation: str
) -> tuple[Score | None, list[str]]:
    """Return the score of a run, if it has one, and what stood in the way of a better source.

    Args:
        folder: The work folder.
        config: The run's config, which says whether weights were averaged.
        scalars: What the run logged.
        key: Name of the score, such as `accuracy/top1`.
        validation: `last` or `best`: which validation counts where there was no test.
    """
    notes: list[str] = []
    averages = _averages(config) or f"{key}_origin" in scalars
    path = folder / _METRICS
    if path.exists():
        try:
            found = parse_json_object(read_file(path, "scores", at_most=_MOST_BYTES), path)
            value, raw = found.get(key), found.get(f"{key}_origin")
            if value is not None:
                weights = _weights(averages or raw is not None)
                return Score(_percent(value, f"{path}: {key}"), _other(raw), "test", weights), notes
            notes.append(f"{_METRICS} has no {key}")
        except (ValueError, OSError) as error:
            notes.append(str(error))
    steps, values = scalars.get(f"val/{key}", scalars.get(key, ((), ())))
    if not len(values):
        return None, [*notes, f"no score: {key} was never logged, and there is no {_METRICS}"]
    usable = [number for number, value in enumerate(values) if _is_percent(value)]
    chosen = len(values) - 1
    if validation == "best" and usable:
        chosen = max(usable, key=lambda number: values[number])
    if chosen not in usable:
        wrong = f"{key} of the last validation is {values[chosen]:g}, expected a number from 0 to 100"
        return None, [*notes, f"no score: {wrong}"]
    raw_steps, raw_values = scalars.get(f"{key}_origin", ((), ()))
    raw = next((raw for step, raw in zip(raw_steps, raw_values, strict=True) if step == steps[chosen]), None)
    source = f"{validation} validation, {step_unit(scalars)} {steps[chosen]:g}"
    return Score(float(values[chosen]), _other(raw), source, _weights(averages)), notes


def progress_of(folder: Path, config: Mapping[str, Any], scalars: Scalars) -> str | None:
    """Return how far a run went that ended before its end, in words; None where it has ended or does not say.

    What was logged, validated and saved are all asked, for the last iterations of a run need not be logged.
    """
    loop = config.get("train_cfg")
    loop = loop if isinstance(loop, Mapping) else {}
    unit, planned = next(
        ((unit, loop.get(f"max_{unit}s")) for unit in ("epoch", "iter") if loop.get(f"max_{unit}s")), (None, None)
    )
    if not isinstance(planned, int):
        return None
    logged = scalars.get("epoch" if unit == "epoch" else "loss")
    trained = 0 if logged is None else _whole(logged[1][-1] if unit == "epoch" else logged[0][-1])
    reached = max((number for number, _ in numbered_checkpoints(folder)), default=0)
    for key, (steps, _) in scalars.items():
        if key.startswith(("accuracy/", "val/")) and len(steps):
            reached = max(reached, _whole(steps[-1]))
    if reached >= planned or (unit == "iter" and trained >= planned):
        return None
    name = {"epoch": "epoch", "iter": "iteration"}[unit]
    return f"unfinished: {name} {max(trained, reached):,} of {planned:,} is its last"


def _whole(number: float) -> int:
    return int(number) if math.isfinite(number) else 0


def _weights(are_averaged: bool) -> str:
    return "average" if are_averaged else "raw"


def _averages(config: Mapping[str, Any]) -> bool:
    """Whether a run scores a moving average of its weights."""
    hooks = config.get("custom_hooks")
    hooks = hooks if isinstance(hooks, (list, tuple)) else ()
    return any(type_name(hook).endswith("EMAHook") and hook.get("evaluate_on_ema", True) for hook in hooks)


def _is_percent(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 100


def _percent(value: Any, name: str) -> float:
    if isinstance(value, bool) or not _is_percent(value):
        raise ValueError(f"{name} is {shown(value)}, expected a number from 0 to 100")
    return float(value)


def _other(value: Any) -> float | None:
    return float(value) if value is not None and _is_percent(value) else None
