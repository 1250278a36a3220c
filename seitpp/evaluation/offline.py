"""Metrics of stored predictions, named on a command line or by a config."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import DictAction

from seitpp.evaluation.predictions import Predictions

_TOP = 5


def parse_metric(words: Sequence[str]) -> dict[str, Any]:
    """Return the config of a metric given as `Accuracy topk=1,5`, or as mmpretrain's tool wants it, `type=Accuracy`."""
    config: dict[str, Any] = {}
    for number, word in enumerate(words):
        key, equals, value = word.partition("=")
        if not equals and number == 0:
            config["type"] = word
        elif not equals or not key:
            raise ValueError(f"--metric {' '.join(words)}: {word!r} is no key=value")
        else:
            config[key] = DictAction._parse_iterable(value)
    if "type" not in config:
        raise ValueError(f"--metric {' '.join(words)} names no metric; expected such as: --metric Accuracy topk=1,5")
    return config


def metrics_of_config(evaluator: Any) -> list[dict[str, Any]]:
    """Return the metrics of a config's `test_evaluator`."""
    entries = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    return [dict(metric) for entry in entries for metric in entry.get("metrics", [entry])]


def usual_metrics(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the metrics computed unasked: top-1, top-5, mean precision and recall; or mean AP; or a set's own rule."""
    if predictions.labels is None:
        return [{"type": "AveragePrecision"}, {"type": "MultiLabelMetric"}]
    if predictions.label_sets is not None:
        return [{"type": "seitpp.MatchedAccuracy"}]
    topk = (1, _TOP) if predictions.num_classes > _TOP else (1,)
    return [{"type": "Accuracy", "topk": topk}, {"type": "SingleLabelMetric"}]


def plain_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """Return scores as numbers and lists, for JSON."""
    return {name: _plain(value) for name, value in scores.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
