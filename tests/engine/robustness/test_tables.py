"""Results as rows and as files, and files that are not results."""

import json
from pathlib import Path

import pytest

from seitpp.engine.robustness import Benchmark, PassResult, Results, read_results, table_rows
from seitpp.engine.robustness.rows import weights_of
from seitpp.engine.robustness.tables import cells, footer, markdown, severity_scores


def result(name: str, scores: dict[str, float], count: int = 10, **options: object) -> PassResult:
    return PassResult({"seed": 0}, {name: scores}, {name: count}, **options)


def results() -> Results:
    """Of an average and raw weights: noise at two severities, sketches with an image too few, and no objects."""
    clean = result("clean", {"average": 90.0, "raw": 80.0}, convention="all 3 classes")
    clean.scores.update(noise=clean.scores["clean"], sketch={"average": 95.0, "raw": 85.0})
    clean.counts.update(noise=10, sketch=6)
    passes = {
        "clean": clean,
        "noise/1": result("noise", {"average": 70.0, "raw": 60.0}),
        "noise/4": result("noise", {"average": 20.0, "raw": 11.0}),
        "sketch": result("sketch", {"average": 45.0, "raw": 35.5}, 4, num_expected=5, remarks=["2 .pdf"]),
    }
    benchmarks = [Benchmark("noise", "Noise", (1, 4)), Benchmark("sketch", "Sketch"), Benchmark("objects", "Objects")]
    paper = {"SeiT": {"clean": 74.0, "noise": 50.7}}
    return Results(
        "a.pth", "0" * 64, passes, benchmarks, {"objects": "data/objects does not exist"}, paper, {"seed": "0"}
    )


def test_rows_have_the_mean_of_the_severities_and_the_drop() -> None:
    rows = {(row.benchmark, row.severity): row for row in table_rows(results(), "raw")}
    noise = rows["noise", None]
    assert (noise.score, noise.clean, noise.drop, noise.paper) == (35.5, 80.0, 44.5, {"SeiT": 50.7})
    assert [rows["noise", severity].score for severity in (1, 4)] == [60.0, 11.0]
    assert rows["noise", 4].drop == 69.0
    sketch = rows["sketch", None]
    assert (sketch.drop, sketch.num_images, sketch.num_clean, sketch.num_expected) == (49.5, 4, 6, 5)
    assert rows["clean", None].drop is None
    objects = rows["objects", None]
    assert (objects.score, objects.convention) == (None, "not run: data/objects does not exist")


def test_weights_have_tables_of_their_own() -> None:
    found = results()
    assert weights_of(found) == ["average", "raw"]
    assert table_rows(found, "average")[1].score == 45.0
    text = markdown(found)
    assert text.index("Moving average of the weights") < text.index("Raw weights")
    assert "| Noise | 45.0 | 90.0 | 45.0 | 10 | 50.7 |" in text
    assert "| &nbsp;&nbsp;severity 4 | 11.0 | 80.0 | 69.0 | 10 |  |" in text


def test_what_is_not_as_expected_is_told() -> None:
    found = results()
    rows = {row.benchmark: cells(row, found) for row in table_rows(found, "raw") if row.severity is None}
    assert rows["sketch"] == ["Sketch", "35.5", "85.0", "49.5", "4 (expected 5)", ""]
    assert rows["objects"] == ["Objects", "not run", "", "", "", ""]
    found.passes["clean"].remarks.append("2 .pdf")
    told = footer(found)
    assert "clean, sketch: 2 .pdf" in told
    assert "Objects: not run: data/objects does not exist" in told
    assert told[-1] == "seed: 0"


def test_a_benchmark_without_all_its_severities_was_not_run() -> None:
    found = results()
    del found.passes["noise/4"]
    (row,) = [row for row in table_rows(found, "raw") if row.benchmark == "noise"]
    assert (row.score, row.convention) == (None, "not run")


def test_without_clean_images_there_is_no_drop() -> None:
    found = results()
    found.absent["clean"] = "data/val does not exist"  # as in a later run
    clean, noise, *_ = table_rows(found, "raw")
    assert (clean.score, noise.score, noise.clean, noise.drop) == (None, 35.5, None, None)


def test_curves_begin_with_the_clean_images() -> None:
    assert severity_scores(results(), "raw") == {"Noise": [(0, 80.0), (1, 60.0), (4, 11.0)]}


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results().write(tmp_path)
    assert read_results(tmp_path) == results()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, r"results.json is no file of seitpp robustness results"),
        ({"passes": [1]}, r"passes is \[1\], expected dict"),
        ({"passes": {"clean": {"settings": {}, "scores": {"clean": {"raw": "9"}}}}}, "counts is missing"),
        (
            {"passes": {"a": {"settings": {}, "scores": {"a": {"raw": 9}}, "counts": {}}}},
            "counts are of .*those of the sc",
        ),
        ({"benchmarks": [{"name": "a", "title": "b", "severities": ["1"]}]}, "expected whole numbers"),
        ({"paper": {"SeiT": {"clean": "high"}}}, "clean is 'high', expected int or float"),
        ({"checkpoint": None}, "checkpoint is None, expected str"),
    ],
)
def test_damaged_results_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    results().write(tmp_path)
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def test_missing_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"results.json does not exist; tools/test_robustness.py CONFIG"):
        read_results(tmp_path)


def test_results_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results of another checkpoint, a.pth .*--out-dir"):
        results().check_checkpoint("1" * 64, tmp_path)
