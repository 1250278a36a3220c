"""`MaskedCodeMetric` by hand, and against a direct computation over the data set."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.evaluation import MaskedCodeMetric
from seitpp.models.mtm.masking import hashed_uniform


def sample(num_correct: int, num_codes: int, nll: float) -> dict:
    return {"num_correct": num_correct, "num_codes": num_codes, "nll": nll, "codebook_size": 8}


def test_totals_by_hand() -> None:
    metric = MaskedCodeMetric()
    metric.process({}, [sample(1, 4, 2.0), sample(3, 4, 4.0)])
    metric.process({}, [sample(0, 2, 6.0)])
    assert metric.evaluate(3) == pytest.approx(
        {
            "masked_code/accuracy": 40.0,
            "masked_code/nll": 1.2,
            "masked_code/perplexity": math.exp(1.2),
            "masked_code/uniform_nll": math.log(8),
        }
    )


def test_padding_beyond_the_data_set_does_not_count() -> None:
    metric = MaskedCodeMetric()
    metric.process({}, [sample(1, 2, 1.0), sample(2, 2, 2.0), sample(0, 2, 90.0)])
    result = metric.evaluate(2)
    assert result["masked_code/accuracy"] == 75
    assert result["masked_code/nll"] == pytest.approx(0.75)


def test_result_does_not_depend_on_batches() -> None:
    samples = [sample(number % 5, 4, 0.1 * number) for number in range(11)]
    whole, parts = MaskedCodeMetric(), MaskedCodeMetric()
    whole.process({}, samples)
    for start in range(0, 11, 3):
        parts.process({}, samples[start : start + 3])
    assert whole.evaluate(11) == parts.evaluate(11)


def test_prefix_can_be_chosen() -> None:
    metric = MaskedCodeMetric(prefix="other")
    metric.process({}, [sample(1, 2, 1.0)])
    assert set(metric.evaluate(1)) == {"other/accuracy", "other/nll", "other/perplexity", "other/uniform_nll"}


def test_validation_equals_a_direct_computation(
    repository: Path, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> None:
    cfg = shrink(Config.fromfile(repository / "configs" / "seitpp" / "mtm_vitb.py"), tmp_path, num_samples=6)
    runner = build_runner(cfg)  # 7 samples in batches of 2
    runner.model.init_weights()
    metrics = runner.val()

    model, dataset = runner.model.eval(), runner.val_dataloader.dataset
    tokens = dataset.__getitems__(range(7))["inputs"].long()[:, 2:30, 2:30]
    with torch.no_grad():
        masks = model.make_masks(hashed_uniform(torch.arange(7), 196), cfg.model.eval_mask_ratio)
        decoded = model.neck(model.backbone(tokens, masks), masks)
        logits = model.head(decoded, model.embedding_table)  # (7, 196, 4, K), every patch
    nll, correct, count = 0.0, 0, 0
    for number in range(7):
        for patch in masks.mask[number].nonzero().flatten().tolist():
            row, column = 2 * (patch // 14), 2 * (patch % 14)
            codes = tokens[number, row : row + 2, column : column + 2].flatten()
            nll += F.cross_entropy(logits[number, patch], codes, reduction="sum").item()
            correct += (logits[number, patch].argmax(dim=-1) == codes).sum().item()
            count += 4
    assert count == 7 * 4 * math.ceil(0.6 * 196)
    assert metrics["masked_code/nll"] == pytest.approx(nll / count, rel=1e-5)
    assert metrics["masked_code/accuracy"] == pytest.approx(100 * correct / count)
