"""The class-subset and any-of rules on cases made by hand."""

from typing import Any

import pytest
import torch
from mmengine.dist import collect_results
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from seitpp.evaluation import MatchedAccuracy
from seitpp.registry import METRICS

SETS = [(1,), (2, 4, 5), (0, 6)]  # class 3 and 7 are in none


def sample(label: int, *best: int, num_classes: int = 8) -> DataSample:
    """A prediction with the best classes in their order."""
    scores = torch.zeros(num_classes)
    for place, index in enumerate(best):
        scores[index] = 1 - 0.1 * place
    return DataSample().set_pred_score(scores).set_gt_label(label)


def score(samples: list[DataSample], data: Any = SETS, batch: int = 3, **options: Any) -> dict[str, float]:
    evaluator = Evaluator(METRICS.build(dict(type="seitpp.MatchedAccuracy", **options)))
    evaluator.dataset_meta = {} if data is None else {"label_sets": data}
    return evaluator.offline_evaluate(samples, chunk_size=batch)


@pytest.mark.parametrize("index", [2, 4, 5])
def test_any_class_of_a_label_with_three_is_right(index):
    assert score([sample(1, index)]) == {"matched/top1": 100, "matched/num_samples": 1}


def test_class_of_another_label_is_wrong():
    assert score([sample(1, 1), sample(1, 6), sample(0, 1), sample(0, 2)])["matched/top1"] == 25


def test_winner_outside_of_the_subset_counts_where_all_compete():
    samples = [sample(0, 3, 1), sample(1, 7, 5), sample(2, 1, 0)]
    assert score(samples)["matched/top1"] == pytest.approx(200 / 3)
    assert score(samples, candidates="all")["matched/top1"] == 0


def test_top_k_asks_for_one_right_class_among_the_best():
    samples = [sample(1, 1, 3, 5), sample(1, 1, 0, 5), sample(1, 1, 6, 0)]
    assert score(samples, topk=(1, 2, 3)) == {
        "matched/top1": 0,
        "matched/top2": pytest.approx(100 / 3),
        "matched/top3": pytest.approx(200 / 3),
        "matched/num_samples": 3,
    }
    assert score(samples, topk=2, candidates="all")["matched/top2"] == 0


def test_first_of_equal_scores_wins_as_for_argmax():
    flat = [DataSample().set_pred_score(torch.zeros(8)).set_gt_label(label) for label in range(3)]
    assert score(flat, candidates="all")["matched/top1"] == pytest.approx(100 / 3)  # class 0
    assert score(flat, [(1,), (2,), (5,)])["matched/top1"] == pytest.approx(100 / 3)  # class 1, the first that competes
    assert score(flat, [(1,), (2,), (5,)], topk=2)["matched/top2"] == pytest.approx(200 / 3)


def test_clean_samples_of_no_set_are_left_out():
    # The winner of the first is another class of the label's set, that of the second in no set.
    samples = [sample(4, 5), sample(4, 3, 2), sample(4, 1), sample(3, 3), sample(7, 1)]
    options = {"label_sets": SETS, "matched_only": True}
    assert score(samples, None, **options) == {"matched/top1": pytest.approx(200 / 3), "matched/num_samples": 3}
    assert score(samples, None, **options, candidates="all")["matched/top1"] == pytest.approx(100 / 3)


def test_clean_class_folders_are_scored_by_their_own_label_sets():
    # Folders in another order than the model's classes: label 0 means class 4, label 1 class 3.
    samples = [sample(0, 2), sample(0, 1), sample(1, 3)]
    scores = score(samples, [(4,), (3,)], label_sets=SETS, matched_only=True)
    assert scores == {"matched/top1": 50, "matched/num_samples": 2}


def test_agrees_with_a_loop_over_samples():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (200, 8), generator=generator).float()  # many are equal
    labels = torch.randint(0, 3, (200,), generator=generator).tolist()
    samples = [DataSample().set_pred_score(one).set_gt_label(label) for one, label in zip(scores, labels, strict=True)]
    competing = sorted(index for one in SETS for index in one)
    for k in (1, 2, 4):
        right = 0
        for one, label in zip(scores.tolist(), labels, strict=True):
            best = sorted(competing, key=lambda index: (-one[index], index))[:k]
            right += bool(set(best) & set(SETS[label]))
        assert score(samples, batch=7, topk=k)[f"matched/top{k}"] == pytest.approx(right / 2)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_padding_of_several_processes_is_cut_off(processes, monkeypatch):
    samples = [sample(1, 5), sample(1, 1), sample(0, 1), sample(2, 6), sample(2, 3, 2)]
    size = -(-len(samples) // processes) * processes
    parts = []
    for rank in range(processes):  # as `DefaultSampler` deals them, with the first again at the end
        metric = MatchedAccuracy(label_sets=SETS)
        metric.process(None, [samples[index % len(samples)].to_dict() for index in range(rank, size, processes)])
        parts.append(metric.results)

    def gathered(results, size, *_args, **_kwargs):
        return [one for group in zip(*parts, strict=True) for one in group][:size]

    monkeypatch.setattr("mmengine.evaluator.metric.collect_results", gathered)
    metric = MatchedAccuracy(label_sets=SETS)
    metric.results = parts[0]
    assert metric.evaluate(len(samples)) == {"matched/top1": 60, "matched/num_samples": 5}
    assert collect_results(parts[0], len(parts[0])) == parts[0]  # what is kept can be sent


def test_is_built_anew_for_other_data():
    metric = MatchedAccuracy()
    for sets, expected in ((SETS, 100), ([(1,), (2,), (0,)], 0)):
        metric.dataset_meta = {"label_sets": sets}
        metric.process(None, [sample(1, 5, 1).to_dict()])
        assert metric.evaluate(1)["matched/top1"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": "some"}, "'some', expected 'matched' or 'all'"),
        ({"topk": 0}, "topk is 0"),
        ({"topk": ()}, "topk is \\(\\)"),
        ({"topk": ("1",)}, "topk is"),
        ({"label_sets": []}, "label_sets is empty"),
        ({"label_sets": [(1,), ()]}, r"label_sets\[1\] is \(\), expected class indices"),
        ({"label_sets": [(1,), 2]}, r"label_sets\[1\] is 2, expected class indices"),
        ({"label_sets": [(-1,)]}, r"label_sets\[0\] is \(-1,\)"),
        ({"label_sets": [(True,)]}, r"label_sets\[0\]"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        MatchedAccuracy(**options)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([sample(1, 1)], {"topk": 7}, "top-7 of 6 classes that compete"),
        ([sample(1, 1)], {"topk": 9, "candidates": "all"}, "top-9 of 8 classes"),
        ([sample(3, 1)], {}, "label 3 is of no set: there are 3"),
        ([sample(-1, 1)], {}, "label -1 is of no set"),
        ([sample(1, 1, num_classes=6)], {}, "go up to class 6, the model has 6 classes"),
        ([sample(3, 1)], {"label_sets": SETS[:1], "matched_only": True, "data": None}, "none of the 1 samples"),
        ([sample(1, 1)], {"data": None}, "has no label_sets"),
        ([DataSample().set_gt_label(1)], {}, "needs scores and one label"),
        ([DataSample().set_pred_score(torch.ones(8))], {}, "needs scores and one label"),
        ([sample([1, 2], 1), sample([], 1)], {}, "one label per sample, and there are samples of several"),
    ],
)
def test_refuses_samples(samples, options, message):
    options = dict(options)
    with pytest.raises(ValueError, match=message):
        score(samples, options.pop("data", SETS), **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_an_error(value):
    bad = sample(0, 1)
    bad.pred_score[3] = value
    with pytest.raises(ValueError, match="1 of 2 samples have a NaN or infinite score"):
        score([sample(0, 1), bad])
