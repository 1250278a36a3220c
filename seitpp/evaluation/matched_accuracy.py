"""Accuracy where a sample may have several right classes, or only some classes compete: ImageNet-R, ObjectNet."""

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from seitpp.evaluation.finite import check_scorable
from seitpp.io.text import shown
from seitpp.registry import METRICS

_NOT_SCORED = -1.0


def ranks_of_right(scores: Tensor, right: Tensor, competes: Tensor) -> Tensor:
    """Return how many competing classes rank before the best of each sample's right ones, (B,), int64.

    Among equal scores the first class ranks first, as for `argmax`. `scores` are (B, C); `right` is (B, C), bool, and
    all of it competes; `competes` is (C,), bool.
    """
    best, first = scores.masked_fill(~right, -torch.inf).max(dim=1, keepdim=True)
    earlier = torch.arange(scores.shape[1], device=scores.device) < first
    before = (scores > best) | ((scores == best) & earlier)
    return (before & competes).sum(dim=1)


@METRICS.register_module()
class MatchedAccuracy(BaseMetric):
    """Top-k accuracy by the rule of a set whose labels stand for one or several of the model's classes.

    A label is an index into `label_sets`, and a prediction is right if one of the k best classes is in its set. Exact
    for any batch size and number of processes.

    With `matched_only` the samples are those of a clean set, whose labels are the model's classes. Samples of classes
    in no set are left out, and any class that shares a set with the label is right. The score of a robustness set is
    compared with this one.

    Results: `top1` and so on, in percent, and `num_samples`, the samples that were scored.

    Args:
        label_sets: The model's classes that are right for each label; by default those of the data set's `metainfo`.
        candidates: Classes that compete: `matched` ones, which are in some set, or `all`.
        topk: One number of best classes or several.
        matched_only: Whether labels are the model's classes, and samples of classes in no set are left out.
        **options: Of mmengine's `BaseMetric`: `prefix`, `collect_device`, `collect_dir`.
    """

    default_prefix = "matched"

    def __init__(
        self,
        label_sets: Sequence[Sequence[int]] | None = None,
        candidates: str = "matched",
        topk: int | Sequence[int] = (1,),
        matched_only: bool = False,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if candidates not in ("matched", "all"):
            raise ValueError(f"candidates is {candidates!r}, expected 'matched' or 'all'")
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or any(type(k) is not int or k < 1 for k in self.topk):
            raise ValueError(f"topk is {shown(topk)}, expected one whole number from 1 or several")
        self.label_sets = None if label_sets is None else checked_label_sets(label_sets)
        self.candidates, self.matched_only = candidates, matched_only
        self._rule: _Rule | None = None

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the rank of a right class per sample, so that mmengine can cut off padding."""
        if any("pred_score" not in sample or "gt_label" not in sample for sample in data_samples):
            raise ValueError(
                f"{type(self).__name__} needs scores and one label per sample (pred_score, gt_label), as mmpretrain's "
                "ImageClassifier returns them for data with labels"
            )
        if any(sample["gt_label"].numel() != 1 for sample in data_samples):
            raise ValueError(f"{type(self).__name__} needs one label per sample, and there are samples of several")
        scores = torch.stack([sample["pred_score"] for sample in data_samples])
        labels = torch.cat([sample["gt_label"].reshape(1) for sample in data_samples]).to(scores.device)
        ranks = self._rule_for(scores).ranks(scores, labels)
        self.results.extend(ranks.masked_fill(~scores.isfinite().all(dim=1), torch.nan).tolist())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        check_scorable(self, results, "score")
        ranks = [rank for rank in results if rank != _NOT_SCORED]
        if not ranks:
            raise ValueError(
                f"none of the {len(results)} samples is of a class in the label sets, so there is nothing to score; "
                "are the labels the model's classes, as matched_only means?"
            )
        shares = {f"top{k}": 100 * sum(rank < k for rank in ranks) / len(ranks) for k in self.topk}
        return {**shares, "num_samples": len(ranks)}

    def _rule_for(self, scores: Tensor) -> "_Rule":
        """Return the rule for scores (B, C), built once per data set, device, and number of classes."""
        of_data = (self.dataset_meta or {}).get("label_sets")
        if self._rule is None or not self._rule.is_of(scores, of_data):
            self._rule = self._make_rule(scores, of_data)
        return self._rule

    def _make_rule(self, scores: Tensor, of_data: Sequence[Sequence[int]] | None) -> "_Rule":
        name, num_classes = type(self).__name__, scores.shape[1]
        sets = self.label_sets if of_data is None or self.label_sets is not None else checked_label_sets(of_data)
        if sets is None:
            raise ValueError(f"{name} has no label_sets: the metainfo of the data holds none; give them as an option")
        matched = sorted(set(chain.from_iterable(sets)))
        if matched[-1] >= num_classes:
            raise ValueError(f"label_sets of {name} go up to class {matched[-1]}, the model has {num_classes} classes")
        competing = matched if self.candidates == "matched" else range(num_classes)
        if (most := max(self.topk)) > len(competing):
            raise ValueError(f"top-{most} of {len(competing)} classes that compete cannot be counted; set another topk")
        right: Sequence[Sequence[int]] = sets
        if self.matched_only:
            own = [(index,) for index in range(num_classes)] if of_data is None else checked_label_sets(of_data)
            right = _sharing(own, sets)
        return _Rule(scores, of_data, _membership(right, scores), _membership([competing], scores)[0])


class _Rule:
    """Which classes are right for each label, `right` (L, C), and which compete, `competes` (C,), both bool."""

    def __init__(self, scores: Tensor, of_data: object, right: Tensor, competes: Tensor) -> None:
        self.of_data, self.right, self.competes = of_data, right, competes
        self.scored = right.any(dim=1)

    def is_of(self, scores: Tensor, of_data: object) -> bool:
        """Whether this is the rule for these data and their scores (B, C)."""
        return self.of_data is of_data and (self.right.device, self.right.shape[1]) == (scores.device, scores.shape[1])

    def ranks(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the ranks of samples (B,), float64; below 0 for those that are left out."""
        if len(wrong := labels[(labels < 0) | (labels >= len(self.right))]):
            raise ValueError(
                f"label {int(wrong[0])} is of no set: there are {len(self.right)}. Labels are indices into label_sets, "
                "or with matched_only=True the model's classes"
            )
        ranks = ranks_of_right(scores, self.right[labels], self.competes).double()
        return ranks.masked_fill(~self.scored[labels], _NOT_SCORED)


def checked_label_sets(label_sets: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return sets of class indices, or raise `ValueError` for what is none."""
    sets = [tuple(one) if isinstance(one, Iterable) and not isinstance(one, str) else () for one in label_sets]
    for number, one in enumerate(sets):
        if not one or any(type(index) is not int or index < 0 for index in one):
            raise ValueError(f"label_sets[{number}] is {shown(label_sets[number])}, expected class indices from 0")
    if not sets:
        raise ValueError("label_sets is empty, expected the right classes of each label")
    return sets


def _sharing(rows: Sequence[Sequence[int]], sets: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return for each row of classes those of all sets that hold one of them."""
    holders: dict[int, list[Sequence[int]]] = {}
    for one in sets:
        for index in one:
            holders.setdefault(index, []).append(one)
    return [[index for own in row for one in holders.get(own, ()) for index in one] for row in rows]


def _membership(rows: Sequence[Iterable[int]], scores: Tensor) -> Tensor:
    """Return (rows, C), bool, True at the classes of each row, on the device of scores (B, C)."""
    table = torch.zeros(len(rows), scores.shape[1], dtype=torch.bool)
    for number, row in enumerate(rows):
        table[number, list(row)] = True
    return table.to(scores.device)
