"""Predictions of a test, gathered over all processes and written to a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import collect_results, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from seitpp.engine.model_kind import ModelKind, check_kind, model_kind
from seitpp.engine.runs import metadata_of, name_of, unwrapped
from seitpp.evaluation.predictions import Predictions, check_suffix, write_predictions
from seitpp.registry import HOOKS


class _Row(NamedTuple):
    number: int  # of the sample in the data set
    scores: np.ndarray  # (C,)
    labels: np.ndarray | None  # its classes, (n,)
    targets: np.ndarray | None  # (C,)


@HOOKS.register_module()
class PredictionHook(Hook):
    """Writes a classifier's scores on the test data, each sample once and in the order of the data set.

    With a moving average of the weights these are the average's; of nearest neighbours, those of the smallest k.

    Args:
        path: An `.npz` file, see `seitpp.evaluation.predictions`.
    """

    priority = "HIGH"  # before mmpretrain's EMAHook tests the weights beside the average, too

    def __init__(self, path: str) -> None:
        check_suffix(path)
        self.path = Path(path)
        self._rows: list[_Row] | None = None

    def before_test(self, runner: Runner) -> None:
        """Begin with nothing."""
        self._rows = []

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Keep a batch's predictions."""
        if self._rows is not None:
            self._rows += _rows_of(outputs, type(unwrapped(runner.model)).__name__)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Gather what all processes have kept, and write it."""
        if self._rows is None:
            return
        dataset = runner.test_loop.dataloader.dataset
        rows = collect_results(self._rows, len(dataset) + get_world_size(), "cpu")
        self._rows = None
        if is_main_process():
            write_predictions(self.path, _joined(rows, dataset))
            runner.logger.info(f"Predictions of {len(dataset)} samples: {self.path}")


def use_prediction_hook(config: Config, path: str | Path) -> None:
    """Let a test of this config write its predictions to `path`; refuse the config of anything but a classifier."""
    if model_kind(config) is ModelKind.SEGMENTOR:
        raise ValueError(
            f"{config.filename} is the config of a segmentor, which predicts label maps and no scores per sample; "
            "tools/test.py --show-dir draws them"
        )
    check_kind(config, ModelKind.CLASSIFIER, ModelKind.OTHER)
    hook = {"type": "seitpp.PredictionHook", "path": str(path)}
    config.custom_hooks = [*(config.get("custom_hooks") or []), hook]


def _rows_of(outputs: Sequence[Any], model: str) -> list[_Row]:
    if not outputs or any("pred_score" not in sample or "sample_idx" not in sample for sample in outputs):
        raise ValueError(
            f"predictions of a {model} cannot be written: its outputs have no pred_score and sample_idx per sample, as "
            "those of a classifier (mmpretrain.ImageClassifier) have"
        )
    scores = torch.stack([sample.pred_score for sample in outputs]).float().cpu().numpy()
    rows = []
    for sample, own in zip(outputs, scores, strict=True):
        labels, targets = (sample.get(name) for name in ("gt_label", "gt_score"))
        labels = None if labels is None else labels.cpu().numpy().astype(np.int64)
        targets = None if targets is None else targets.float().cpu().numpy()
        rows.append(_Row(int(sample.sample_idx), own, labels, targets))
    return rows


def _joined(rows: Sequence[_Row], dataset: Any) -> Predictions:
    """Put the rows in order, without what a sampler repeats to fill up the last batches."""
    unique = {row.number: row for row in rows}
    rows = [unique[index] for index in sorted(unique)]
    if len(rows) != len(dataset):
        raise ValueError(
            f"{len(rows)} of the {len(dataset)} samples of {name_of(dataset)} were predicted; expected each of them: "
            "write predictions with a sampler that leaves none out (mmengine.DefaultSampler)"
        )
    indices, scores = np.array([row.number for row in rows], np.int64), np.stack([row.scores for row in rows])
    known = [dataset.get_data_info(index) for index in indices.tolist()] if hasattr(dataset, "get_data_info") else [{}]
    options: dict[str, Any] = _truth(rows, scores.shape[1])
    source = _source_of(dataset)
    if "store" in source:
        options["store_indices"] = np.array([info["store_index"] for info in known], np.int64)
    elif all("img_path" in info for info in known):
        options["names"] = [str(info["img_path"]) for info in known]
    classes, label_sets = (metadata_of(dataset).get(key) for key in ("classes", "label_sets"))
    if label_sets is not None:  # then the names are those of the labels, not of the model's classes
        classes, options["label_sets"] = None, [[int(index) for index in one] for one in label_sets]
    classes = None if classes is None else [str(name) for name in classes]
    return Predictions(scores, indices, classes=classes, source=source, **options)


def _truth(rows: Sequence[_Row], num_classes: int) -> dict[str, np.ndarray]:
    if all(row.targets is not None for row in rows):
        return {"targets": np.stack([row.targets for row in rows])}
    if any(row.labels is None for row in rows):
        return {}
    if all(len(row.labels) == 1 for row in rows):
        return {"labels": np.concatenate([row.labels for row in rows])}
    targets = np.zeros((len(rows), num_classes), np.float32)
    for target, row in zip(targets, rows, strict=True):
        target[row.labels] = 1
    return {"targets": targets}


def _source_of(dataset: Any) -> dict[str, Any]:
    """Say what opens the samples again: see `Predictions.source`."""
    if hasattr(dataset, "source_options"):  # images
        options = {key: dataset.source_options[key] for key in ("split", "root", "max_pixels")}
        options |= {"border": dataset.border or None, "benchmark": metadata_of(dataset).get("benchmark")}
        options["corruption"] = None if dataset.corruption is None else str(dataset.corruption)
        given = {key: value for key, value in options.items() if value is not None}
        return {"images": dataset.source_options["path"], **given}
    if hasattr(dataset, "reader") and "content_hash" in metadata_of(dataset):
        return {"store": dataset.store_path, "content_hash": metadata_of(dataset)["content_hash"]}
    return {"name": name_of(dataset)}
