"""Robustness sets in a run: labels are indices into `label_sets`, which only `seitpp.MatchedAccuracy` reads."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import Evaluator

from seitpp.engine.runs import metadata_of, name_of
from seitpp.evaluation import MatchedAccuracy


def label_sets_of(dataset: Any) -> Sequence[Sequence[int]] | None:
    """Return the model's classes that are right for each label; None where labels are classes themselves."""
    return metadata_of(dataset).get("label_sets")


def classes_of(dataset: Any) -> list[str] | None:
    """Return the names of the classes that a model of these data has; of a robustness set those it was opened with."""
    classes = metadata_of(dataset).get("classes" if label_sets_of(dataset) is None else "model_classes")
    return None if classes is None else list(classes)


def check_label_sets(label_sets: Sequence[Sequence[int]], num_classes: int, where: str) -> None:
    """Refuse a robustness set whose labels stand for classes that the head does not have."""
    if (most := max(index for one in label_sets for index in one)) >= num_classes:
        raise ValueError(
            f"{where} is scored by the model's class {most}, the head has {num_classes} classes; set "
            "model.head.num_classes"
        )


def check_metrics(dataset: Any, evaluator: Evaluator) -> None:
    """Refuse metrics that would take a robustness set's labels for the model's classes."""
    others = [type(metric).__name__ for metric in evaluator.metrics if not isinstance(metric, MatchedAccuracy)]
    if label_sets_of(dataset) is not None and others:
        raise ValueError(
            f"{name_of(dataset)} is a robustness set, whose labels {others[0]} takes for the model's classes; score it "
            "with dict(type='seitpp.MatchedAccuracy') alone"
        )


def check_training(dataset: Any) -> None:
    """Refuse to train on a robustness set."""
    if label_sets_of(dataset) is not None:
        raise ValueError(
            f"{name_of(dataset)} is opened as a robustness set, which is for tests; leave `benchmark` out to train on "
            "its images"
        )
