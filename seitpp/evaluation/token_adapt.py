"""How well TokenAdapt predicts the tokens of an augmented image, compared with doing without it."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from seitpp.evaluation.finite import check_scorable
from seitpp.models.token_adapt.pretrain import PREDICTIONS
from seitpp.registry import METRICS
from seitpp.tokenizers.psnr import psnr_of_error

_NAMED_SCORE = re.compile(rf"(?P<name>.+)_(?P<score>accuracy|psnr)(?:_(?P<kind>{'|'.join(PREDICTIONS[1:])}))?")


@METRICS.register_module()
class TokenAdaptMetric(BaseMetric):
    """Share of tokens predicted exactly, and PSNR of the decoded prediction, for each augmentation.

    Exact for any batch size and number of processes but for augmentations that mix samples, whose partners are found
    in the batch.

    Results, for each augmentation NAME of the model's `eval_augments`: `NAME_accuracy`, percentage of tokens;
    `NAME_accuracy_direct`, when the augmentation is applied to the tokens' embeddings instead and the nearest code
    taken; `NAME_accuracy_copy`, when the input's tokens are copied; `NAME_accuracy_reencode`, when they are decoded,
    augmented as pixels and encoded again, many times the cost. `NAME_psnr` and so on: of the decoded tokens to the
    augmented image, mean over images in dB; `_tokenizer`: of its true tokens, which nothing can beat but by chance.
    `accuracy` is the mean of `NAME_accuracy`.
    """

    default_prefix = "token_adapt"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep a batch's scores, with one entry per sample, so that mmengine can cut off padding."""
        self.results.extend((sample["token_adapt_names"], sample["token_adapt_scores"]) for sample in data_samples)

    def compute_metrics(self, results: list[tuple[tuple[str, ...], Tensor]]) -> dict[str, float]:
        names = results[0][0]
        scores = torch.stack([row for _, row in results]).double()  # (N, augmentations, predictions, 2)
        check_scorable(self, scores[:, :, 0, 0].sum(dim=1).tolist(), "map of TokenAdapt")
        accuracy = 100 * scores[..., 0].mean(dim=0)
        psnr = psnr_of_error(scores[..., 1]).mean(dim=0)
        metrics = {"accuracy": float(accuracy[:, 0].mean())}
        for number, name in enumerate(names):
            for kind, *scored in zip(PREDICTIONS, accuracy[number].tolist(), psnr[number].tolist(), strict=True):
                suffix = "" if kind == "token_adapt" else f"_{kind}"
                for score, value in zip(("accuracy", "psnr"), scored, strict=True):
                    if not math.isnan(value) and (kind, score) != ("tokenizer", "accuracy"):
                        metrics[f"{name}_{score}{suffix}"] = value
        return metrics


# What each prediction is, for people.
_WORDS = {
    "token_adapt": "TokenAdapt",
    "direct": "embeddings changed",
    "copy": "tokens copied",
    "reencode": "pixels changed, re-encoded",
    "tokenizer": "true tokens",
}
_SCORES = {"accuracy": "tokens right, %", "psnr": "PSNR, dB"}


def scores_table(metrics: Mapping[str, Any]) -> tuple[str, set[str]]:
    """Set the scores of `TokenAdaptMetric` in tables: a column per augmentation, a row per prediction.

    Args:
        metrics: Scores by their logged key, among others that are left out.

    Returns:
        The text, empty if there are no such scores, and the keys that it shows.
    """
    found = {}
    for key, value in metrics.items():
        prefix, _, rest = key.rpartition("/")
        match = _NAMED_SCORE.fullmatch(rest)
        if match and prefix.endswith(TokenAdaptMetric.default_prefix):
            found[key] = (match["score"], match["kind"] or "token_adapt", match["name"], value)
    lines = []
    for score, title in _SCORES.items():
        cells = {(kind, name): value for scored, kind, name, value in found.values() if scored == score}
        names = list(dict.fromkeys(name for _, name in cells))
        kinds = [kind for kind in PREDICTIONS if any(kind == known for known, _ in cells)]
        if not names:
            continue
        rows = [[title, *names], *([_WORDS[kind], *(cells.get((kind, name)) for name in names)] for kind in kinds)]
        shown = [[one if isinstance(one, str) else "-" if one is None else f"{one:.2f}" for one in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            aligned = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append("  ".join([row[0].ljust(widths[0]), *aligned]))
    return "\n".join(lines), set(found)
