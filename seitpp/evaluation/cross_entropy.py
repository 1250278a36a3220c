"""Cross-entropy of a classifier's scores in nats: the loss that validation lacks, to be drawn beside training's."""

import math
from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from seitpp.evaluation.finite import check_scorable
from seitpp.registry import METRICS

_SUM_TOLERANCE = 1e-2  # of the scores of a sample, which bfloat16 rounds


@METRICS.register_module()
class CrossEntropy(BaseMetric):
    """Mean negative logarithm of the true class's score, exact for any batch size and number of processes.

    Result: `loss`, without a prefix, so that tools find it beside training's. Training's may be larger by label
    smoothing and mixed targets, which nothing has here. A score of 0, which rounding leaves of a logit far below the
    best, counts as the smallest normal float32, 87.3 nats, so that one sample does not make the mean infinite.
    """

    default_prefix = ""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep one number per sample, so that mmengine can cut off padding; the device is read once per batch."""
        labels = [sample.get("gt_label") for sample in data_samples]
        if any(label is None or label.numel() != 1 for label in labels):
            raise ValueError(
                "CrossEntropy compares scores with one true class per sample, and the samples have none, or several; "
                "use a metric of several labels, such as mmpretrain.AveragePrecision"
            )
        scores = torch.stack([sample["pred_score"] for sample in data_samples]).float()
        own = scores.gather(1, torch.stack(labels).view(-1, 1).to(scores.device)).squeeze(1)
        own = own.clamp(min=torch.finfo(torch.float32).tiny)  # NaN stays
        self.results += list(zip((-own.log()).tolist(), scores.sum(dim=1).tolist(), strict=True))

    def compute_metrics(self, results: list[tuple[float, float]]) -> dict[str, float]:
        losses, sums = zip(*results, strict=True)
        check_scorable(self, losses, "score of the true class")
        if wrong := [one for one in sums if abs(one - 1) > _SUM_TOLERANCE]:
            raise ValueError(
                f"CrossEntropy reads probabilities, and the scores of {len(wrong)} of {len(sums)} samples do not add "
                f"up to 1 but, for instance, to {wrong[0]:.4g}; use it with a head whose scores are a softmax"
            )
        return {"loss": math.fsum(losses) / len(losses)}
