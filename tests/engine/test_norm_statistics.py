"""When running statistics of batch norm are averaged over processes."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from seitpp.engine import SyncNormStatisticsHook, norm_statistics
from seitpp.engine.norm_statistics import explain_single_values


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


@pytest.mark.parametrize(
    ("norm", "shape", "training", "refused"),
    [
        (torch.nn.BatchNorm2d(4), (1, 4, 1, 1), True, True),
        (torch.nn.BatchNorm1d(4), (1, 4), True, True),
        (torch.nn.BatchNorm2d(4), (1, 4, 1, 1), False, False),
        (torch.nn.BatchNorm2d(4), (1, 4, 1, 2), True, False),
        (torch.nn.BatchNorm2d(4), (2, 4, 1, 1), True, False),
        (torch.nn.GroupNorm(1, 4), (1, 4, 1, 1), True, False),
    ],
)
def test_a_single_value_per_channel_is_explained(
    norm: torch.nn.Module, shape: tuple[int, ...], training: bool, refused: bool
) -> None:
    model = torch.nn.Sequential(norm).train(training)
    explain_single_values(model)
    if not refused:
        assert model(torch.ones(shape)).isfinite().all()
        return
    with pytest.raises(ValueError, match=r"0 normalises over a batch, .*batch_size to at least 2 .*drop_last=True"):
        model(torch.ones(shape))


def test_upernet_of_one_sample_says_what_to_do(tiny: Callable, repository: Path, build_runner: Callable) -> None:
    leaf = repository / "configs" / "segmentation" / "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
    cfg = Config.fromfile(tiny(leaf, batch_size=1))
    with pytest.raises(ValueError, match=r"decode_head\.psp_modules\S+ normalises over a batch, .*\(1, 16, 1, 1\)"):
        build_runner(cfg).train()
