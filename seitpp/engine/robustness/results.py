"""Results of passes over benchmarks as a JSON file, with all that they depend on, so that a run can go on later."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seitpp.engine.robustness.plan import Benchmark
from seitpp.io.atomic_write import write_whole
from seitpp.io.text import shown
from seitpp.io.untrusted import entry, parse_json_object, read_file, text

RESULTS_FILE = "results.json"
_FORMAT = "seitpp robustness results"
_VERSION = 1
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PassResult:
    """Scores of one pass.

    Attributes:
        settings: All that the scores depend on beside the checkpoint; plain values.
        scores: Top-1 in % by the benchmark whose classes count (of the clean images several), then by the weights:
            `model`, or `average` and `raw`.
        counts: Images that were scored, by benchmark.
        num_expected: Images that there should be, where known.
        convention: How it was scored, in a few words.
        remarks: What else a reader of the score should know, such as class folders that are missing.
    """

    settings: dict[str, Any]
    scores: dict[str, dict[str, float]]
    counts: dict[str, int]
    num_expected: int | None = None
    convention: str = ""
    remarks: list[str] = field(default_factory=list)


@dataclass
class Results:
    """What is known of one checkpoint.

    Attributes:
        checkpoint: Its path.
        checkpoint_sha256: Hash of its file.
        passes: By `Pass.key`.
        benchmarks: Those of the last run, in the order of the table.
        absent: Why the last run left some of them out.
        paper: Top-1 in % by method, then by benchmark; empty for other classes than ImageNet's.
        notes: What else the table says of the last run, such as the seed.
    """

    checkpoint: str
    checkpoint_sha256: str
    passes: dict[str, PassResult] = field(default_factory=dict)
    benchmarks: list[Benchmark] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    paper: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write them into a folder, whole."""
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        write_whole(folder / RESULTS_FILE, (json.dumps(content, indent=1) + "\n").encode())

    def check_checkpoint(self, sha256: str, folder: Path) -> None:
        """Refuse results of another checkpoint."""
        if sha256 != self.checkpoint_sha256:
            raise ValueError(
                f"{folder / RESULTS_FILE} has the results of another checkpoint, {self.checkpoint} "
                f"(SHA-256 {self.checkpoint_sha256[:12]}...; this one has {sha256[:12]}...); name another folder with "
                "--out-dir, or remove that file to score anew"
            )


def read_results(folder: Path) -> Results:
    """Read the results in a folder; raises `FileNotFoundError` where there are none, `ValueError` if damaged."""
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; tools/test_robustness.py CONFIG CHECKPOINT --out-dir {folder} makes it"
        )
    content = parse_json_object(read_file(path, "robustness results", at_most=_MOST_BYTES), path)
    if content.get("format") != _FORMAT or content.get("version") != _VERSION:
        raise ValueError(f"{path} is no file of {_FORMAT} in version {_VERSION}; remove it to score anew")
    passes = entry(content, "passes", dict, path)
    benchmarks = entry(content, "benchmarks", list, path)
    return Results(
        entry(content, "checkpoint", str, path),
        entry(content, "checkpoint_sha256", str, path),
        {key: _pass_result(value, f"{path}, passes.{key}") for key, value in passes.items()},
        [_benchmark(value, f"{path}, benchmarks") for value in benchmarks],
        _texts(entry(content, "absent", dict, path), f"{path}, absent"),
        {method: _numbers(scores, f"{path}, paper") for method, scores in entry(content, "paper", dict, path).items()},
        _texts(entry(content, "notes", dict, path), f"{path}, notes"),
    )


def _pass_result(value: Any, where: str) -> PassResult:
    scores = entry(value, "scores", dict, where)
    counts = entry(value, "counts", dict, where)
    if scores.keys() != counts.keys():
        raise ValueError(f"{where}: counts are of {shown(list(counts))}, expected those of the scores, {list(scores)}")
    return PassResult(
        entry(value, "settings", dict, where),
        {name: _numbers(scores, f"{where}.scores") for name, scores in scores.items()},
        {name: entry(counts, name, int, f"{where}.counts") for name in counts},
        entry(value, "num_expected", (int, type(None)), where),
        entry(value, "convention", str, where),
        [text(one, f"{where}.remarks") for one in entry(value, "remarks", list, where)],
    )


def _benchmark(value: Any, where: str) -> Benchmark:
    severities = entry(value, "severities", list, where)
    if not all(type(one) is int for one in severities):
        raise ValueError(f"{where}: severities is {severities!r}, expected whole numbers")
    return Benchmark(entry(value, "name", str, where), entry(value, "title", str, where), tuple(severities))


def _numbers(value: Any, where: str) -> dict[str, float]:
    return {
        name: float(entry(value, name, (int, float), where)) for name in entry({"scores": value}, "scores", dict, where)
    }


def _texts(value: Mapping[str, Any], where: str) -> dict[str, str]:
    return {name: entry(value, name, str, where) for name in value}
