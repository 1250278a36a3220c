"""Fused optimizers: where the device has them, equal to plain ones, and the config's choice when a run goes on."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from seitpp.engine import optim_wrapper
from seitpp.engine.guards.checkpoint import _compare_optimizer
from seitpp.engine.optim_wrapper import check_fused


def config_of(kind: str, **options: object) -> Config:
    return Config({"optim_wrapper": {"optimizer": {"type": kind, "lr": 1.0, **options}}})


@pytest.mark.parametrize(
    ("device", "kind", "fused"),
    [("cpu", "AdamW", True), ("meta", "AdamW", False), ("cpu", "LBFGS", False), ("cpu", "seitpp.Own", True)],
)
def test_an_optimizer_is_fused_where_it_can_be(
    device: str, kind: str, fused: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(optim_wrapper, "get_device", lambda: device)
    config = config_of(kind, fused=True)
    config.optim_wrapper.critic = {"optimizer": dict(config.optim_wrapper.optimizer)}
    check_fused(config)
    for options in (config.optim_wrapper.optimizer, config.optim_wrapper.critic.optimizer):
        assert options.get("fused", False) is fused
        if kind == "LBFGS":  # which takes no such option, not even as False
            torch.optim.LBFGS([torch.zeros(1)], **{key: value for key, value in options.items() if key != "type"})


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_an_optimizer_that_is_not_fused_stays(kind: str) -> None:
    config = config_of(kind)
    check_fused(config)
    assert config.to_dict() == config_of(kind).to_dict()
    check_fused(Config({}))


def adamw(fused: bool | None) -> torch.optim.AdamW:
    torch.manual_seed(0)
    weights = [torch.randn(size, requires_grad=True) for size in (5, 700)]
    return torch.optim.AdamW([{"params": [one]} for one in weights], lr=1e-2, weight_decay=0.1, fused=fused)


def step(optimizer: torch.optim.AdamW, steps: range) -> None:
    for number in steps:
        torch.manual_seed(number)
        for group in optimizer.param_groups:
            group["params"][0].grad = torch.randn_like(group["params"][0])
        optimizer.step()


@pytest.mark.parametrize(("before", "after"), [(None, True), (True, None), (True, True)])
def test_a_run_goes_on_with_the_kernels_of_its_config(before: bool | None, after: bool | None) -> None:
    whole, first, second = adamw(None), adamw(before), adamw(after)
    step(whole, range(6))
    step(first, range(3))
    checkpoint = {"optimizer": first.state_dict()}
    _compare_optimizer(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=second), logger=None), checkpoint)
    second.load_state_dict(checkpoint["optimizer"])
    with torch.no_grad():
        for group, other in zip(second.param_groups, first.param_groups, strict=True):
            group["params"][0].copy_(other["params"][0])
    step(second, range(3, 6))
    for group, other in zip(second.param_groups, whole.param_groups, strict=True):
        assert group["fused"] is after
        torch.testing.assert_close(group["params"][0], other["params"][0], rtol=1e-5, atol=1e-6)
