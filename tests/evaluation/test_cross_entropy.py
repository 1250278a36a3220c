"""`CrossEntropy` by hand and against torch: batches, padding, scores of zero, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from seitpp.evaluation import CrossEntropy
from seitpp.evaluation.predictions import Predictions


def samples(logits: torch.Tensor, labels: torch.Tensor) -> list[dict]:
    found = [DataSample().set_pred_score(score) for score in logits.softmax(dim=1)]
    return [sample.set_gt_label(label).to_dict() for sample, label in zip(found, labels.tolist(), strict=True)]


def test_equals_torch_for_any_batches_without_padding() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(7, 4), torch.randint(4, (7,))
    made = samples(logits, labels)
    for size in (1, 3, 7):
        metric = CrossEntropy()
        for start in range(0, 7, size):
            metric.process({}, made[start : start + size])
        metric.process({}, samples(9 * torch.randn(2, 4), torch.tensor([0, 1])))  # a sampler's padding
        assert metric.evaluate(7) == {"loss": pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)}


def test_score_of_zero_has_a_finite_loss() -> None:
    metric = CrossEntropy()
    metric.process({}, samples(torch.tensor([[0.0, 500.0], [0.0, 0.0]]), torch.tensor([0, 0])))
    assert metric.evaluate(2)["loss"] == pytest.approx((87.336544 + math.log(2)) / 2)


@pytest.mark.parametrize("label", [None, torch.tensor([0, 1]), torch.tensor([], dtype=torch.long)])
def test_samples_without_one_class_are_refused(label: torch.Tensor | None) -> None:
    sample = DataSample().set_pred_score(torch.tensor([0.5, 0.5]))
    if label is not None:
        sample.set_gt_label(label)
    with pytest.raises(ValueError, match="one true class per sample, and the samples have none, or several"):
        CrossEntropy().process({}, [sample.to_dict()])


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.9, 0.9], "scores of 1 of 2 samples do not add up to 1 but, for instance, to 1.8"), ([math.nan, 1.0], "NaN")],
)
def test_scores_that_are_no_probabilities_are_refused(scores: list[float], message: str) -> None:
    metric = CrossEntropy()
    sound = DataSample().set_pred_score(torch.tensor([0.4, 0.6])).set_gt_label(1)
    wrong = DataSample().set_pred_score(torch.tensor(scores)).set_gt_label(0)
    metric.process({}, [sound.to_dict(), wrong.to_dict()])
    with pytest.raises(ValueError, match=message):
        metric.evaluate(2)


def test_stored_predictions_are_scored() -> None:
    scores = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).numpy()
    found = Predictions(scores, torch.arange(2).numpy(), labels=torch.tensor([0, 1]).numpy())
    expected = (math.log(4) + math.log(2)) / 2
    assert found.evaluate([{"type": "seitpp.CrossEntropy"}]) == {"loss": pytest.approx(expected)}
