"""Runs of the study condensed to a line each, so that its tables and figures can be made without the work folders."""

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.benchmarking.study.jobs import DONE, commands_in, seconds_of
from seitpp.engine.robustness import read_results
from seitpp.engine.robustness.results import RESULTS_FILE
from seitpp.engine.robustness.rows import table_rows, weights_of
from seitpp.engine.work_folders import DataPlaces
from seitpp.engine.work_folders.finding import config_of_run
from seitpp.io.atomic_write import write_whole
from seitpp.io.text import shorten, shown, text_lines
from seitpp.io.untrusted import entry, parse_json_object, read_file, text, whole_number
from seitpp.visualization.curves import Scalars, read_scalars

TOP1 = "accuracy/top1"
_CURVE_POINTS = 50
_DIGITS = 5  # of a number in a record
_TEST = "tools/test.py"
_METRICS_FILE = "metrics.json"
_MOST_BYTES = 1 << 24
_MOST_COUNT = 1 << 53  # of images or bytes
_TORCH = re.compile(r"^\s*PyTorch: (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What is kept of a job's folder.

    Attributes:
        name: The folder below that of all sets of images, such as `fashion-mnist/scores/seit-10pct-seed0`.
        commands: What filled it, as a shell reads it.
        test: Top-1 in per cent on the test images; None where it was not tested.
        validation: Last top-1 in per cent on the held-out images; None where it was not scored on them.
        metrics: All other numbers of the last validation by their names in the log; those of the test begin with
            `test/`, top-1 on corrupted images with `robustness/`.
        num_images: Images that it was trained on; None where it was not trained.
        num_bytes: Their bytes, labels and codebook included.
        num_code_bytes: Bytes of their codes alone; None for pixels.
        curve: Iteration and training loss, at most 50 points.
        seconds: How long its commands took.
        torch: Version of PyTorch.
    """

    name: str
    commands: tuple[str, ...] = ()
    test: float | None = None
    validation: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_images: int | None = None
    num_bytes: int | None = None
    num_code_bytes: int | None = None
    curve: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0
    torch: str = ""


def find_runs(out: Path, names: Iterable[str]) -> dict[str, Run]:
    """Return the finished runs below a folder, of those names, by name."""
    places = DataPlaces()
    found = sorted(name for name in names if (out / name / DONE).exists())
    return {name: read_run(out / name, name, places) for name in found}


def read_run(folder: Path, name: str, places: DataPlaces | None = None) -> Run:
    """Condense a finished job's folder; `places` remembers the sizes of data from one run to the next.

    Where a job tests what another one trained, numbers of the training are those of the other one's folder.

    Raises:
        ValueError: A file in it is damaged.
        OSError: Its training data are not there any more.
    """
    commands = commands_in(folder)
    trained = _tested_folder(commands, folder, name) or folder
    scalars = read_scalars(trained) if any(trained.glob("*/vis_data/scalars.json")) else {}
    steps, values = scalars.get("loss", ((), ()))
    validation = _last_values(scalars)
    tested = _numbers(folder / _METRICS_FILE)
    data = (places or DataPlaces()).measure(config_of_run(trained), trained) if len(steps) else None
    metrics = {**validation, **{f"test/{key}": value for key, value in tested.items()}, **_robustness(folder)}
    return Run(
        name,
        tuple(commands),
        test=_short(tested[TOP1]) if TOP1 in tested else None,
        validation=_short(validation[TOP1]) if TOP1 in validation else None,
        metrics={
            key: _short(value)
            for key, value in sorted(metrics.items())
            if key not in (TOP1, f"test/{TOP1}") and math.isfinite(value)
        },
        num_images=None if data is None else data.num_images,
        num_bytes=None if data is None else data.num_bytes,
        num_code_bytes=None if data is None else data.num_code_bytes,
        curve=tuple(
            (float(steps[one]), _short(values[one])) for one in _thinned(len(steps)) if math.isfinite(values[one])
        ),
        seconds=seconds_of(folder) + (0 if trained == folder else seconds_of(trained)),
        torch=_torch_of(trained),
    )


def _tested_folder(commands: Sequence[str], folder: Path, name: str) -> Path | None:
    """Return the folder whose run is tested, if these commands test one: its config and its checkpoint lie there.

    Commands name it as it was called where they ran; it is looked for beside `folder`, which is that of run `name`.
    """
    depth = len(Path(name).parts)
    for words in map(shlex.split, commands):
        if words[1:2] == [_TEST] and len(words) > 3 and Path(words[2]).parent == Path(words[3]).parent:
            return folder.parents[depth - 1].joinpath(*Path(words[2]).parent.parts[-depth:])
    return None


def last_validation(folder: Path) -> float | None:
    """Return a run's last top-1 on held-out images in per cent; None where it was not scored on them."""
    found = _last_values(read_scalars(folder)).get(TOP1)
    return None if found is None else _short(found)


def read_records(path: Path) -> dict[str, Run]:
    """Read a file of records, one JSON object per line; by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or has a name twice.
    """
    content = read_file(path, "file of records", at_most=_MOST_BYTES)
    runs: dict[str, Run] = {}
    for number, line in enumerate(text_lines(content, path, "file of records"), 1):
        where = f"{path}, line {number}"
        run = _parse(parse_json_object(line, where), where)
        if run.name in runs:
            raise ValueError(f"{where}: {run.name} was there before, expected each run once")
        runs[run.name] = run
    return runs


def write_records(path: Path, runs: Mapping[str, Run]) -> None:
    """Write a file of records, sorted by name."""
    lines = [json.dumps(asdict(runs[name]), separators=(",", ":")) + "\n" for name in sorted(runs)]
    write_whole(path, "".join(lines).encode())


def _parse(line: dict[str, Any], where: str) -> Run:
    known = list(Run.__dataclass_fields__)
    if line.keys() != set(known):
        wrong = sorted(line.keys() ^ set(known))
        raise ValueError(f"{where}: keys {shorten(wrong)} are missing or unknown, expected {', '.join(known)}")
    metrics = entry(line, "metrics", dict, where)
    points = entry(line, "curve", list, where)
    if not all(_is_point(one) for one in points):
        raise ValueError(f"{where}: curve is {shown(points)}, expected pairs of numbers, iteration and loss")
    if line["num_images"] is None and (line["num_bytes"] is not None or line["num_code_bytes"] is not None):
        raise ValueError(f"{where}: num_images is null, expected a number beside num_bytes and num_code_bytes")
    return Run(
        text(line["name"], f"{where}: name"),
        tuple(text(one, f"{where}: commands") for one in entry(line, "commands", list, where)),
        test=_score(line, "test", where),
        validation=_score(line, "validation", where),
        metrics={text(key, where): entry(metrics, key, (int, float), f"{where}: metrics") for key in metrics},
        num_images=_count(line, "num_images", where),
        num_bytes=_count(line, "num_bytes", where),
        num_code_bytes=_count(line, "num_code_bytes", where),
        curve=tuple((step, value) for step, value in points),
        seconds=entry(line, "seconds", (int, float), where),
        torch=text(line["torch"], f"{where}: torch"),
    )


def _count(line: dict[str, Any], key: str, where: str) -> int | None:
    return None if line[key] is None else whole_number(line[key], f"{where}: {key}", 1, _MOST_COUNT)


def _score(line: dict[str, Any], key: str, where: str) -> float | None:
    value = entry(line, key, (int, float, type(None)), where)
    if value is not None and not 0 <= value <= 100:
        raise ValueError(f"{where}: {key} is {shown(value)}, expected per cent, 0 to 100, or null")
    return value


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) in (int, float) for one in value)


def _last_values(scalars: Scalars) -> dict[str, float]:
    """Return the last numbers of each metric; metrics alone have a prefix, such as `accuracy/`."""
    return {key: float(values[-1]) for key, (_, values) in scalars.items() if "/" in key and not key.startswith("val/")}


def _numbers(path: Path) -> dict[str, float]:
    """Return the numbers of a file of scores, if it is there."""
    if not path.exists():
        return {}
    found = parse_json_object(read_file(path, "scores", at_most=_MOST_BYTES), path)
    return {key: float(value) for key, value in found.items() if type(value) in (int, float)}


def _robustness(folder: Path) -> dict[str, float]:
    """Return top-1 on corrupted images, of the averaged weights where there are such."""
    if not (folder / RESULTS_FILE).exists():
        return {}
    results = read_results(folder)
    rows = table_rows(results, weights_of(results)[0])
    names = [row.benchmark if row.severity is None else f"{row.benchmark}/{row.severity}" for row in rows]
    return {f"robustness/{name}": row.score for name, row in zip(names, rows, strict=True) if row.score is not None}


def _thinned(count: int) -> Sequence[int]:
    """Return at most 50 indices of a curve, the last one among them."""
    return [] if count == 0 else sorted(set(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(int)))


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _torch_of(folder: Path) -> str:
    for log in sorted(folder.glob("*/*.log"), reverse=True):
        if found := _TORCH.search(log.read_text(encoding="utf-8", errors="replace")):
            return found[1]
    return ""
