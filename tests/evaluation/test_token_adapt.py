"""`TokenAdaptMetric` by hand, for any batches, and with tokenizers that cannot decode."""

import math

import pytest
import torch
from torch import Tensor

from seitpp.evaluation import TokenAdaptMetric

NAMES = ("flip", "mixup")
NAN = math.nan


def sample(flip: list[tuple[float, float]], mixup: list[tuple[float, float]]) -> dict:
    """Share of exact tokens and squared error of each prediction, of each augmentation."""
    return {"token_adapt_names": NAMES, "token_adapt_scores": torch.tensor([flip, mixup])}


BY_HAND = [
    sample(
        flip=[(0.5, 0.01), (0.25, 0.1), (0.0, 1.0), (0.5, 0.01), (1.0, 0.0001)],
        mixup=[(1.0, 0.0), (0.5, 0.01), (0.5, 0.1), (1.0, 0.01), (1.0, 0.0)],
    ),
    sample(
        flip=[(1.0, 0.001), (0.75, 0.1), (0.5, 0.01), (1.0, 0.001), (1.0, 0.001)],
        mixup=[(0.0, 0.01), (0.5, 0.01), (0.0, 0.1), (0.0, 0.01), (1.0, 0.0)],
    ),
]


def evaluated(samples: list[dict], batch_size: int, count: int | None = None) -> dict[str, float]:
    metric = TokenAdaptMetric()
    for start in range(0, len(samples), batch_size):
        metric.process({}, samples[start : start + batch_size])
    return metric.evaluate(count or len(samples))


def test_scores_by_hand() -> None:
    assert evaluated(BY_HAND, 2) == pytest.approx(
        {
            "token_adapt/accuracy": 62.5,
            "token_adapt/flip_accuracy": 75,
            "token_adapt/flip_accuracy_direct": 50,
            "token_adapt/flip_accuracy_copy": 25,
            "token_adapt/flip_accuracy_reencode": 75,
            "token_adapt/flip_psnr": 25,
            "token_adapt/flip_psnr_direct": 10,
            "token_adapt/flip_psnr_copy": 10,
            "token_adapt/flip_psnr_reencode": 25,
            "token_adapt/flip_psnr_tokenizer": 35,
            "token_adapt/mixup_accuracy": 50,
            "token_adapt/mixup_accuracy_direct": 50,
            "token_adapt/mixup_accuracy_copy": 25,
            "token_adapt/mixup_accuracy_reencode": 50,
            "token_adapt/mixup_psnr": 60,  # an exact image counts as 100 dB
            "token_adapt/mixup_psnr_direct": 20,
            "token_adapt/mixup_psnr_copy": 10,
            "token_adapt/mixup_psnr_reencode": 20,
            "token_adapt/mixup_psnr_tokenizer": 100,
        },
        rel=1e-6,
    )


def random_samples(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    scores: list[Tensor] = list(torch.rand(count, 2, 5, 2, generator=generator))
    return [{"token_adapt_names": NAMES, "token_adapt_scores": row} for row in scores]


def test_result_does_not_depend_on_batches() -> None:
    samples = random_samples(11)
    assert evaluated(samples, 3) == evaluated(samples, 11)


def test_padding_beyond_the_data_set_does_not_count() -> None:
    samples = random_samples(5)
    assert evaluated(samples, 5, count=4) == evaluated(samples[:4], 4)


def test_psnr_of_tokenizers_that_cannot_decode_is_left_out() -> None:
    rows = [(0.5, NAN), (0.5, NAN), (0.5, NAN), (NAN, NAN), (1.0, NAN)]
    result = evaluated([sample(flip=rows, mixup=rows)], 1)
    assert not [name for name in result if "psnr" in name or "reencode" in name]
    assert result["token_adapt/accuracy"] == 50
    assert len(result) == 1 + 2 * 3


def test_prefix_is_the_callers() -> None:
    metric = TokenAdaptMetric(prefix="digits")
    metric.process({}, BY_HAND)
    assert "digits/flip_accuracy" in metric.evaluate(2)
