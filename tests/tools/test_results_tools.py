"""Tools on stored predictions: eval_metric.py, confusion_matrix.py, analyze_results.py."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.tools import tool_main
from seitpp.benchmarking.synthetic import make_store
from seitpp.evaluation.predictions import Predictions, write_predictions
from seitpp.storage import StoreReader

NAMES = ["ant", "<b>bee</b>", "[red]cow", "dog"]


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 40 samples of a store without a decoder; 30 are right, and three dogs are taken for cows."""
    folder = tmp_path_factory.mktemp("predictions")
    store = StoreReader(make_store(folder / "store", num_samples=40, grid=(4, 4), codebook_size=16))
    labels = np.arange(40) % 4
    scores = np.full((40, 4), 0.1, np.float32)
    guesses = labels.copy()
    guesses[:7] = (labels[:7] + 1) % 4
    guesses[[31, 35, 39]] = 2
    scores[np.arange(40), guesses] = np.linspace(0.5, 0.7, 40)
    source = {"store": str(folder / "store"), "content_hash": store.content_hash}
    options = {"classes": NAMES, "source": source, "store_indices": np.arange(40)}
    write_predictions(folder / "preds.npz", Predictions(scores, np.arange(40), labels, **options))
    return folder / "preds.npz"


@pytest.fixture(scope="module")
def analysis() -> Callable[[str], Callable]:
    return lambda name: tool_main(f"analysis_tools/{name}.py")


def test_metrics_are_named_in_either_way_or_by_a_config(
    predictions: Path, analysis: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "scores.json"
    line = [predictions, "--metric", "Accuracy", "topk=1,2", "--metric", "type=ConfusionMatrix", "--out", out]
    assert analysis("eval_metric")(line) == 0
    scores = json.loads(out.read_text())
    assert scores["accuracy/top1"] == 75 and scores["confusion_matrix/result"][3][2] == 3
    (tmp_path / "config.py").write_text("test_evaluator = [dict(type='mmpretrain.Accuracy', topk=(1,))]")
    assert analysis("eval_metric")([tmp_path / "config.py", predictions, "--out", out]) == 0
    assert json.loads(out.read_text()) == {"accuracy/top1": 75}
    assert analysis("eval_metric")([predictions]) == 0
    assert "single-label/precision" in capsys.readouterr().out


def test_clean_samples_are_scored_by_the_label_sets_of_another_set(
    predictions: Path, analysis: Callable, tmp_path: Path
) -> None:
    """Dogs are in no set; the three of them and 7 - 2 of the others are wrong, of which ants and bees are one label."""
    out = tmp_path / "scores.json"
    metric = ["--metric", "seitpp.MatchedAccuracy", "label_sets=[(0,1),(2,)]", "matched_only=True", "candidates=all"]
    assert analysis("eval_metric")([predictions, *metric, "--out", out]) == 0
    assert json.loads(out.read_text()) == {"matched/top1": pytest.approx(100 * 26 / 30), "matched/num_samples": 30}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (["Acuracy"], "did you mean mmpretrain.Accuracy"),
        (["Accuracy", "topk=9"], "top-9 of 4 classes"),
        (["topk=1"], "names no metric"),
        (["Accuracy", "topk"], "'topk' is no key=value"),
    ],
)
def test_metrics_that_cannot_be_computed_are_refused(
    metric: list, message: str, predictions: Path, analysis: Callable, capsys: pytest.CaptureFixture
) -> None:
    assert analysis("eval_metric")([predictions, "--metric", *metric]) == 1
    assert message in capsys.readouterr().err


def test_metrics_of_other_outputs_are_refused(
    predictions: Path, analysis: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tasks = "dict(k10=[dict(type='mmpretrain.Accuracy')])"
    text = f"test_evaluator = dict(type='mmpretrain.MultiTasksMetric', task_metrics={tasks})"
    (tmp_path / "config.py").write_text(text)
    assert analysis("eval_metric")([tmp_path / "config.py", predictions]) == 1
    assert "MultiTasksMetric: reads 'k10' of each prediction, which the file" in capsys.readouterr().err


def test_confusion_matrix_is_printed_written_and_drawn(
    predictions: Path, analysis: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = [predictions, "--out", tmp_path / "c.csv", "--show-path", tmp_path / "c.png", "--counts"]
    assert analysis("confusion_matrix")(line) == 0
    header, *rows = csv.reader((tmp_path / "c.csv").read_text().splitlines())
    assert header[1:] == NAMES and [row[0] for row in rows] == NAMES and rows[3][1:] == ["1", "0", "3", "6"]
    assert (tmp_path / "c.png").read_bytes()[1:4] == b"PNG"
    printed = capsys.readouterr().out
    assert "30 of 40 right (75.00 %)" in printed and "[red]cow" in printed


def test_checkpoint_needs_its_config(analysis: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        analysis("confusion_matrix")(["epoch_1.pth"])
    assert "a checkpoint needs its config before it" in capsys.readouterr().err


def test_page_and_tables_of_results(
    predictions: Path, analysis: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert analysis("analyze_results")([predictions, "--out-dir", tmp_path, "--topk", 4]) == 0
    assert "Pictures show codes as colours" in capsys.readouterr().out
    page = (tmp_path / "index.html").read_text()
    assert page.count("<img") == 9 and "&lt;b&gt;bee" in page and "<b>bee" not in page
    assert "taken for [red]cow (0.70), is dog (0.10); sample 39" in page
    header, *rows = csv.reader((tmp_path / "samples.csv").read_text().splitlines())
    worst = dict(zip(header, rows[0], strict=True))
    assert (worst["sample"], worst["true"], worst["predicted"], worst["right"]) == ("sample 39", "dog", "[red]cow", "0")
    assert len(rows) == 40
    classes = {row["name"]: row for row in csv.DictReader((tmp_path / "classes.csv").read_text().splitlines())}
    assert classes["dog"]["accuracy"] == "0.6" and classes["dog"]["confused_with"] == "[red]cow"
