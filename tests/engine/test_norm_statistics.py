"""When running statistics of batch norm are averaged over processes."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from seitpp.engine import SyncNormStatisticsHook, norm_statistics


def averaged_after(monkeypatch: pytest.MonkeyPatch, loop: type, iterations: int) -> list[int]:
    """Iterations after which statistics are averaged, in a run that validates every three."""
    seen: list[int] = []
    train_loop = loop.__new__(loop)
    if loop is IterBasedTrainLoop:
        train_loop.val_interval = 3
    runner = SimpleNamespace(train_loop=train_loop, model=torch.nn.BatchNorm1d(2), iter=0)
    monkeypatch.setattr(norm_statistics, "all_reduce_params", lambda buffers, op: seen.append(runner.iter + 1))
    hook = SyncNormStatisticsHook()
    for runner.iter in range(iterations):
        hook.after_train_iter(runner, runner.iter)
    return seen


def test_before_each_validation_of_a_run_by_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert averaged_after(monkeypatch, IterBasedTrainLoop, 8) == [3, 6]


def test_not_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert averaged_after(monkeypatch, EpochBasedTrainLoop, 8) == []
