"""How well MTM predicts hidden codes: accuracy and perplexity, with the score of a uniform guess."""

import math
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from seitpp.evaluation.finite import check_scorable
from seitpp.registry import METRICS


@METRICS.register_module()
class MaskedCodeMetric(BaseMetric):
    """Sums over every hidden code of the data set, exact for any batch size and number of processes.

    Results: `accuracy` in percent, `nll` in nats per code, `perplexity` (its exponential), and `uniform_nll`, the
    natural logarithm of K, which a uniform guess scores.
    """

    default_prefix = "masked_code"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep sums, with one entry per sample, so that mmengine can cut off padding."""
        for sample in data_samples:
            self.results.append(tuple(sample[key] for key in ("num_correct", "num_codes", "nll", "codebook_size")))

    def compute_metrics(self, results: list[tuple[int, int, float, int]]) -> dict[str, float]:
        correct, codes, nll, codebook_sizes = zip(*results, strict=True)
        check_scorable(self, nll, "nll of hidden codes")
        mean_nll = math.fsum(nll) / sum(codes)
        return {
            "accuracy": 100 * sum(correct) / sum(codes),
            "nll": mean_nll,
            "perplexity": math.exp(mean_nll),
            "uniform_nll": math.log(codebook_sizes[0]),
        }
