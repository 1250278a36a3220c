"""The plain formulation computes what the models compute: same loss, same gradients."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.nn import functional as F

from helpers.shrinking import shrink
from seitpp.benchmarking.plain import PlainMTM, explicit_attention, use_explicit_attention
from seitpp.benchmarking.steps import TrainingStep, build_loader
from seitpp.layers.checkpointed_layer import CheckpointedLayer


@pytest.fixture(scope="module")
def config(mtm_leaf: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return shrink(Config.fromfile(mtm_leaf), tmp_path_factory.mktemp("plain"), num_samples=4, batch_size=4)


def test_plain_mtm_has_the_loss_and_gradients_of_mtm(config: Config) -> None:
    loader = build_loader(config)
    ours, plain = (TrainingStep(config, loader, "cpu", plain=plain).model.eval() for plain in (False, True))
    assert isinstance(plain, PlainMTM)
    codes = torch.randint(ours.head.bias.numel(), (3, *ours.backbone.img_size))
    masks = ours.make_masks(torch.rand(3, ours.backbone.num_patches), 0.6)
    losses = [model.loss_on_masks(codes, masks)["loss"] for model in (ours, plain)]
    torch.testing.assert_close(losses[1], losses[0])
    for loss in losses:
        loss.backward()
    expected = dict(ours.named_parameters())
    for name, value in plain.named_parameters():
        torch.testing.assert_close(value.grad, expected[name].grad, atol=1e-5, rtol=1e-3, msg=name)


def test_explicit_attention_is_attention() -> None:
    query, key, value = torch.randn(3, 2, 4, 7, 8)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(explicit_attention(query, key, value), expected)


def test_operations_are_the_same_whatever_computes_attention_and_once_with_checkpointing(config: Config) -> None:
    loader = build_loader(config)
    step = TrainingStep(config, loader, "cpu")
    fused = step.flops_per_image()
    use_explicit_attention(step.model)
    assert step.flops_per_image() == fused > 0
    config = copy.deepcopy(config)
    config.model.backbone.with_cp = config.model.neck.with_cp = True
    step = TrainingStep(config, loader, "cpu")
    assert step.flops_per_image() == fused
    kinds = {type(layer) for layer in (*step.model.backbone.layers, *step.model.neck.layers)}
    assert kinds == {CheckpointedLayer}
