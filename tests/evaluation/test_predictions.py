"""Predictions in a file: what is written is read, what is damaged or hostile is refused, metrics are a test's."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.evaluation import Accuracy, AveragePrecision, ConfusionMatrix

from seitpp.evaluation.offline import usual_metrics
from seitpp.evaluation.predictions import Predictions, read_predictions, write_predictions


def some(count: int = 12, num_classes: int = 4, **changes: object) -> Predictions:
    rng = np.random.default_rng(0)
    options = {
        "scores": rng.dirichlet(np.ones(num_classes), count).astype(np.float32),
        "indices": np.arange(count) * 2,
        "labels": rng.integers(num_classes, size=count),
        "classes": [f"class {number}" for number in range(num_classes)],
        "source": {"store": "data/val", "content_hash": "0" * 64},
        "store_indices": np.arange(count)[::-1].copy(),
    }
    return Predictions(**{**options, **changes})


def test_predictions_come_back_and_equal_ones_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_predictions(tmp_path / name, some())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found, expected = read_predictions(tmp_path / "a.npz"), some()
    for name in ("scores", "indices", "labels", "store_indices"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.classes, found.source, found.names) == (expected.classes, expected.source, None)


def test_metrics_are_those_of_mmpretrain() -> None:
    predictions = some(50)
    configs = [{"type": "Accuracy", "topk": (1, 2)}, {"type": "ConfusionMatrix"}, {"type": "AveragePrecision"}]
    found = predictions.evaluate(configs)
    scores, labels = torch.from_numpy(predictions.scores), torch.from_numpy(predictions.labels)
    top1, top2 = (one[0].item() for one in Accuracy.calculate(scores, labels, topk=(1, 2)))
    assert (found["accuracy/top1"], found["accuracy/top2"]) == (top1, top2)
    assert torch.equal(found["confusion_matrix/result"], ConfusionMatrix.calculate(scores, labels))
    one_hot = torch.nn.functional.one_hot(labels, 4)
    assert found["multi-label/mAP"] == pytest.approx(float(AveragePrecision.calculate(scores, one_hot)))


def test_metrics_of_several_classes_per_sample() -> None:
    targets = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 1]], np.float32)
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.9], [0.7, 0.6, 0.8]], np.float32)
    predictions = Predictions(scores, np.arange(3), targets=targets)
    found = predictions.evaluate([{"type": "MultiLabelMetric", "thr": 0.5}])
    assert found["multi-label/recall"] == pytest.approx(100)
    assert found["multi-label/precision"] == pytest.approx(100 * (0.5 + 1 + 1) / 3)
    with pytest.raises(ValueError, match="a matrix needs one true class per sample, and the predictions have targets"):
        predictions.need_labels("a matrix")


def test_labels_of_a_robustness_set_are_scored_by_its_rule_alone(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.2, 0.3, 0.9], [0.5, 0.4, 0.3, 0.2], [0.1, 0.4, 0.3, 0.2]], np.float32)
    options = {"labels": np.array([0, 0, 1]), "label_sets": [[1, 2], [0]]}
    write_predictions(tmp_path / "a.npz", Predictions(scores, np.arange(3), **options))
    predictions = read_predictions(tmp_path / "a.npz")
    assert usual_metrics(predictions) == [{"type": "seitpp.MatchedAccuracy"}]
    assert predictions.evaluate(usual_metrics(predictions))["matched/top1"] == pytest.approx(100 / 3)
    assert predictions.evaluate([{"type": "seitpp.MatchedAccuracy", "candidates": "all"}])["matched/top1"] == 0
    with pytest.raises(ValueError, match=r"mmpretrain\.Accuracy takes labels for the model's classes"):
        predictions.evaluate([{"type": "mmpretrain.Accuracy"}])
    with pytest.raises(ValueError, match="a matrix needs one true class per sample, and the label_sets hold several"):
        predictions.need_labels("a matrix")
    one_each = Predictions(scores, np.arange(3), labels=np.array([0, 0, 1]), label_sets=[[2], [0]])
    assert one_each.need_labels("a matrix").tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.full((12, 4), np.nan, np.float32)}, "float32 .* with NaN or infinite values, expected finite"),
        ({"scores": np.zeros((12, 4))}, "scores are float64"),
        ({"indices": np.zeros(12, np.int64)}, "indices are not ascending"),
        ({"labels": np.full(12, 4)}, "labels go up to 4, the scores are of 4 classes"),
        ({"labels": np.arange(-1, 11)}, r"labels are int64 \(12,\), expected 12 integers \(int64\) from 0"),
        ({"labels": None, "targets": np.full((12, 4), 2, np.float32)}, r"targets have values outside of \[0, 1\]"),
        ({"classes": ["a"]}, "classes are 1 names, expected 4"),
        ({"classes": ["a", "b", "c", "\ud800"]}, "one of classes is .* expected text"),
        ({"names": ["a"]}, "names are 1 names, expected 12"),
        ({"label_sets": [(0,), (4,)]}, "label_sets go up to class 4, the scores are of 4 classes"),
        ({"label_sets": [(0,), ()]}, r"label_sets\[1\] is \(\), expected class indices"),
        ({"label_sets": [(0,), (1, 2)]}, "there are 2 label_sets, expected labels that are indices; they go up to 3"),
        ({"label_sets": [(0,)], "labels": None}, "expected labels that are indices; there are none"),
    ],
)
def test_predictions_that_contradict_themselves_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        some(**changes)


def _rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def _with_metadata(entries: dict[str, bytes], **changes: object) -> None:
    content = np.load(io.BytesIO(entries["metadata.npy"])).tobytes()
    new = json.dumps({**json.loads(content), **changes}).encode()
    entries["metadata.npy"] = _npy(np.frombuffer(new, np.uint8))


class _Runs:
    def __reduce__(self) -> tuple:
        return (open, ("ran", "w"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop("scores.npy"), "'scores' is missing or not expected"),
        (lambda found: found.update({"more.npy": found["scores.npy"]}), "'more' is missing or not expected"),
        (lambda found: found.update({"scores.npy": _npy(np.array([_Runs()]))}), "it holds dtype.*expected integers"),
        (lambda found: found.update({"scores.npy": pickle.dumps(_Runs())}), "not a .npy file of plain numbers"),
        (
            lambda found: _with_metadata(found, version=2),
            "'version': 2}, expected format seitpp.predictions, version 1",
        ),
        (lambda found: _with_metadata(found, classes="abcd"), "classes is 'abcd', expected list or null"),
        (lambda found: _with_metadata(found, source=[]), "source is .*, expected dict"),
        (lambda found: found.update({"metadata.npy": _npy(np.zeros(9, np.uint8))}), "metadata is damaged or is not"),
    ],
)
def test_damaged_and_hostile_files_are_refused(
    change: Callable, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_predictions("preds.npz", some())
    _rewritten(tmp_path / "preds.npz", change)
    with pytest.raises(ValueError, match=message):
        read_predictions("preds.npz")
    assert not Path("ran").exists()


def test_cut_files_are_refused(tmp_path: Path) -> None:
    write_predictions(tmp_path / "preds.npz", some())
    content = (tmp_path / "preds.npz").read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "preds.npz").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"preds\.npz"):
            read_predictions(tmp_path / "preds.npz")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"preds\.pkl: the name must end in \.npz"):
        write_predictions(tmp_path / "preds.pkl", some())
    with pytest.raises(FileNotFoundError, match=r"preds\.npz does not exist"):
        read_predictions(tmp_path / "preds.npz")
