"""`tools/analysis_tools/robustness_table.py`: several classifiers in one table."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from helpers.tools import tool_main
from seitpp.engine.robustness import Benchmark, PassResult, Results

TOOL = "analysis_tools/robustness_table.py"


def write(folder: Path, scores: dict[str, float], weights: str = "model", paper: bool = False) -> Path:
    """Write results of a checkpoint with noise at severities 1 and 5, as far as `scores` has them."""
    passes = {
        key: PassResult({}, {key.split("/")[0]: {"average": 0.0, weights: score}}, {key.split("/")[0]: 9})
        for key, score in scores.items()
    }
    if weights == "model":
        for one in passes.values():
            for values in one.scores.values():
                values.pop("average")
    results = Results("a.pth", "0" * 64, passes, [Benchmark("noise", "Noise", (1, 5)), Benchmark("r", "R")])
    results.paper = {"SeiT": {"clean": 74.0, "noise": 50.7}} if paper else {}
    folder.mkdir()
    results.write(folder)
    return folder


def test_methods_are_rows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first = write(tmp_path / "first", {"clean": 90.0, "noise/1": 60.0, "noise/5": 21.0, "r": 30.0}, paper=True)
    second = write(tmp_path / "second", {"clean": 80.0, "noise/1": 60.0}, "raw", paper=True)
    out = [tmp_path / name for name in ("table.csv", "table.md", "curves.png")]
    tool_main(TOOL)([str(first), str(second), "--legend", "A", "B", "--out", *map(str, out)])
    assert out[1].read_text().splitlines() == [
        "| method | clean | Noise | R |",
        "| --- | --- | --- | --- |",
        "| A | 90.0 | 40.5 | 30.0 |",
        "| B | 80.0 | not run | not run |",
        "| SeiT (paper) | 74.0 | 50.7 | not run |",
    ]
    with out[0].open() as file:
        assert [row["Noise"] for row in csv.DictReader(file)] == ["40.5", "", "50.7"]
    with Image.open(out[2]) as picture:
        assert picture.width > 300
    assert "weights: B (raw)" in capsys.readouterr().out


def test_the_average_is_shown_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The paper's rows are not: its classes are others."""
    folder = write(tmp_path / "own", {"clean": 80.0}, "raw")
    tool_main(TOOL)([str(folder), "--weights", "average"])
    printed = capsys.readouterr().out
    assert "weights: own (average)" in printed and " 0.0 " in printed
    assert "paper" not in printed and "Noise" not in printed


def test_results_without_a_score_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert tool_main(TOOL)([str(write(tmp_path / "none", {}))]) == 1
    assert "the results of a.pth hold no score; run tools/test_robustness.py again" in capsys.readouterr().err
