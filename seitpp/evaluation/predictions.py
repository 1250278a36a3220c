"""What a classifier predicted for a data set, and the file that `tools/test.py --out-preds` keeps it in.

The file is an `.npz` of plain arrays, read without pickle: `scores`, `indices`, `labels` or `targets`, `store_indices`,
and `metadata`, JSON in UTF-8. It holds nothing of when and where it was made: equal predictions are equal files.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from seitpp.evaluation.matched_accuracy import MatchedAccuracy, checked_label_sets
from seitpp.io.atomic_write import written_whole
from seitpp.io.text import shown
from seitpp.io.untrusted import entry, parse_json_object, parse_npz, read_file, text, whole_number
from seitpp.registry import METRICS

SUFFIX = ".npz"
MAX_BYTES = 8 * 2**30
"""Most bytes of a file of predictions: two million samples of a thousand classes."""
_FORMAT, _VERSION = "seitpp.predictions", 1
_ARRAYS = ("scores", "indices", "labels", "targets", "store_indices", "metadata")


@dataclass(frozen=True)
class Predictions:
    """Scores of N samples over C classes, and the truth where it is known.

    Attributes:
        scores: (N, C), float32, finite.
        indices: Index of each sample in the data set, (N,), int64, ascending.
        labels: True class of each, (N,), int64 in [0, C); None where `targets` say it, or nothing.
        label_sets: Of a robustness set the classes that are right for each label: `labels` are indices into these.
        targets: True scores, (N, C), float32 in [0, 1], of samples of several classes; None elsewhere.
        classes: Class names in the order of their indices.
        source: Where the samples came from: `store` (path) and `content_hash`; or `images` (path) and what else opens
            them: `split`, `root`, `max_pixels`, and `border`, `benchmark`, `corruption`; or only a `name`.
        store_indices: Index of each sample in the store, (N,), int64; None for others.
        names: Name of each sample's image in its source; None for samples of a store.

    Raises:
        ValueError: Sizes, types or values are others.
    """

    scores: np.ndarray
    indices: np.ndarray
    labels: np.ndarray | None = None
    targets: np.ndarray | None = None
    classes: Sequence[str] | None = None
    source: dict[str, Any] = field(default_factory=dict)
    store_indices: np.ndarray | None = None
    names: Sequence[str] | None = None
    label_sets: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        scores, count = self.scores, len(self.indices)
        if scores.ndim != 2 or scores.dtype != np.float32 or not scores.size or not np.isfinite(scores).all():
            raise ValueError(f"scores are {_outline(scores)}, expected finite float32 (N, classes), neither 0")
        for name, values in (("indices", self.indices), ("labels", self.labels), ("store_indices", self.store_indices)):
            if values is not None and (values.shape != (len(scores),) or values.dtype != np.int64 or values.min() < 0):
                raise ValueError(f"{name} are {_outline(values)}, expected {len(scores)} integers (int64) from 0")
        if (np.diff(self.indices) <= 0).any():
            raise ValueError("indices are not ascending; expected each sample of the data set once, in its order")
        if self.label_sets is not None:
            self._check_label_sets(self.label_sets)
        elif self.labels is not None and self.labels.max() >= self.num_classes:
            raise ValueError(f"labels go up to {self.labels.max()}, the scores are of {self.num_classes} classes")
        if self.targets is not None:
            if self.targets.shape != scores.shape or self.targets.dtype != np.float32:
                raise ValueError(f"targets are {_outline(self.targets)}, expected float32 {scores.shape} as the scores")
            if not ((self.targets >= 0) & (self.targets <= 1)).all():
                raise ValueError("targets have values outside of [0, 1]")
            if self.labels is not None:
                raise ValueError("there are labels and targets; expected one of the two")
        for name, found, expected in (("classes", self.classes, self.num_classes), ("names", self.names, count)):
            if found is not None and len(found) != expected:
                raise ValueError(f"{name} are {len(found)} names, expected {expected}")
            for one in found or ():
                text(one, f"one of {name}")

        for key, value in self.source.items():
            if key in ("max_pixels", "border"):
                whole_number(value, f"source.{key}", 1, 2**40)
            else:
                text(value, f"source.{key}")

    def _check_label_sets(self, label_sets: Sequence[Sequence[int]]) -> None:
        largest = max(map(max, checked_label_sets(label_sets)))
        if largest >= self.num_classes:
            raise ValueError(f"label_sets go up to class {largest}, the scores are of {self.num_classes} classes")
        if self.labels is None or self.labels.max() >= len(label_sets):
            found = "there are none" if self.labels is None else f"they go up to {self.labels.max()}"
            raise ValueError(f"there are {len(label_sets)} label_sets, expected labels that are indices; {found}")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def num_classes(self) -> int:
        return self.scores.shape[1]

    @property
    def class_names(self) -> list[str]:
        """Class names, or their numbers where names are not known."""
        return list(self.classes) if self.classes is not None else [str(number) for number in range(self.num_classes)]

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class of the highest score, the first of equal ones, (N,), int64."""
        return self.scores.argmax(axis=1)

    def name_of(self, row: int) -> str:
        """Return what to call the sample of a row: its image's name, or its index in store or data set."""
        if self.names is not None:
            return self.names[row]
        return f"sample {(self.indices if self.store_indices is None else self.store_indices)[row]}"

    def need_labels(self, what: str) -> np.ndarray:
        """Return the true classes (N,), or refuse `what` needs one class per sample."""
        if self.label_sets is not None:
            if any(len(one) > 1 for one in self.label_sets):
                raise ValueError(f"{what} needs one true class per sample, and the label_sets hold several for some")
            return np.array([index for (index,) in self.label_sets], np.int64)[self.labels]
        if self.labels is None:
            found = "no labels" if self.targets is None else "targets of several classes per sample"
            raise ValueError(f"{what} needs one true class per sample, and the predictions have {found}")
        return self.labels

    def data_samples(self) -> Iterator[DataSample]:
        """Yield each prediction as mmpretrain's metrics read it."""
        for row, scores in enumerate(torch.from_numpy(self.scores)):
            sample = DataSample(metainfo={"sample_idx": int(self.indices[row])}).set_pred_score(scores)
            sample.set_pred_label(scores.argmax(dim=0, keepdim=True))
            if self.labels is not None:
                sample.set_gt_label(int(self.labels[row]))
            elif self.targets is not None:
                sample.set_gt_score(torch.from_numpy(self.targets[row]))
                sample.set_gt_label(torch.from_numpy(np.flatnonzero(self.targets[row] > 0.5)))
            yield sample

    def evaluate(self, metrics: Sequence[dict]) -> dict[str, Any]:
        """Compute metrics, given by their configs, as a test does; names without a prefix are mmpretrain's.

        Raises:
            ValueError: A metric reads what is not among the predictions, or takes more classes than there are.
        """
        if self.labels is None and self.targets is None:
            raise ValueError("the predictions have no true classes to be compared with: the data have no labels")
        self._refuse_other_metrics(metrics)
        for config in metrics:
            most = np.max(config.get("topk", 1))
            if most > self.num_classes:
                raise ValueError(f"top-{most} of {self.num_classes} classes cannot be counted; set another topk")
        evaluator = Evaluator([METRICS.build({"_scope_": "mmpretrain", **config}) for config in metrics])
        evaluator.dataset_meta = {"classes": self.classes}
        if self.label_sets is not None:
            evaluator.dataset_meta["label_sets"] = self.label_sets
        try:
            return evaluator.offline_evaluate(self.data_samples(), chunk_size=256)
        except KeyError as error:
            types = ", ".join(str(config.get("type")) for config in metrics)
            raise ValueError(f"{types}: reads {error} of each prediction, which the file does not hold") from error

    def _refuse_other_metrics(self, metrics: Sequence[dict]) -> None:
        """Refuse metrics to which labels that are indices into `label_sets` would be classes."""
        for name in (str(config.get("type")) for config in metrics):
            if self.label_sets is not None and METRICS.get(name) is not MatchedAccuracy:
                raise ValueError(
                    f"{name} takes labels for the model's classes, and these are of a robustness set: score them with "
                    "seitpp.MatchedAccuracy (candidates=all, if all classes are to compete)"
                )


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions to an `.npz` file, whole or not at all."""
    check_suffix(path)
    metadata = {"format": _FORMAT, "version": _VERSION, "classes": predictions.classes, "names": predictions.names}
    if predictions.label_sets is not None:
        metadata["label_sets"] = predictions.label_sets
    content = json.dumps({**metadata, "source": predictions.source}, ensure_ascii=False, allow_nan=False)
    arrays = {name: getattr(predictions, name) for name in _ARRAYS[:-1]}
    arrays["metadata"] = np.frombuffer(content.encode(), np.uint8)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: values for name, values in arrays.items() if values is not None})


def read_predictions(path: str | Path) -> Predictions:
    """Read a file of predictions; nothing in it is run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of predictions, damaged, or beyond `MAX_BYTES`.
    """
    check_suffix(path)
    source = f"predictions {path}"
    arrays = parse_npz(read_file(path, "predictions", at_most=MAX_BYTES), source, at_most=MAX_BYTES)
    if unknown := sorted(arrays.keys() - set(_ARRAYS)) or sorted({"scores", "indices", "metadata"} - arrays.keys()):
        raise ValueError(
            f"{source}: {shown(unknown[0])} is missing or not expected among its arrays ({shown(sorted(arrays))}); "
            "expected a file that tools/test.py --out-preds wrote"
        )
    content = arrays.pop("metadata")
    metadata = parse_json_object(content.astype(np.uint8).tobytes(), f"{source}, metadata")
    known = {key: metadata.get(key) for key in ("format", "version")}
    if known != {"format": _FORMAT, "version": _VERSION}:
        raise ValueError(f"{source} is {shown(known)}, expected format {_FORMAT}, version {_VERSION}")
    options = {name: entry(metadata, name, (list, type(None)), source) for name in ("classes", "names", "label_sets")}
    try:
        return Predictions(**arrays, **options, source=entry(metadata, "source", dict, source))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def check_suffix(path: str | Path) -> None:
    """Refuse a name of predictions that does not end in `.npz`."""
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"predictions {path}: the name must end in {SUFFIX}; expected a file of test.py --out-preds")


def _outline(values: np.ndarray) -> str:
    finite = "" if values.dtype.kind != "f" or np.isfinite(values).all() else " with NaN or infinite values"
    return f"{values.dtype} {values.shape}{finite}"
