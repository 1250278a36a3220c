"""`WarmupCosineLR`: the reference's values, the recipes' landmarks, and refusals."""

import json
import math
from fractions import Fraction
from itertools import groupby

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope

from helpers.golden import golden_path
from seitpp.engine import WarmupCosineLR

SCHEDULES = "configs/_base_/schedules/"


def rates(peaks: list[float], steps: int, **options: object) -> list[list[float]]:
    """Rate of each group, of the given peak rate, at the first `steps` steps."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": peak} for peak in peaks]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = WarmupCosineLR.build_iter_from_epoch(optimizer, by_epoch=True, **options)
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parity
def test_reference_values_by_iteration() -> None:
    cases = json.loads(golden_path("lrd.json").read_text())["lr_schedule"]
    settings = ("lr", "min_lr", "warmup_epochs", "epochs")
    # Makes every epoch of the fixture a whole step.
    epoch_length = math.lcm(*(Fraction(case["epoch"]).limit_denominator(1000).denominator for case in cases))
    checked = 0
    for (lr, min_lr, warmup, epochs), group in groupby(cases, key=lambda case: tuple(case[key] for key in settings)):
        seen = rates(
            [lr, lr / 2],
            epochs * epoch_length,
            warmup=warmup,
            eta_min_ratio=min_lr / lr,
            end=epochs,
            epoch_length=epoch_length,
        )
        for case in group:
            step = round(case["epoch"] * epoch_length)
            assert step == pytest.approx(case["epoch"] * epoch_length, abs=1e-6)
            # Near the end 1 + cos cancels: 1e-16 of rounding is 1e-7 of the value.
            assert seen[step] == pytest.approx([case["value"], case["value_scale_half"]], rel=1e-6, abs=1e-18)
            checked += 1
    assert checked == len(cases) > 0


@pytest.mark.parametrize(
    ("name", "peak", "warmup", "last"),
    [
        ("mtm_adamw_8xb512-400e.py", 2.4e-3, 40, 0.0),
        ("finetune_adamw_8xb128-100e.py", 4e-3, 5, 1e-6),
    ],
)
def test_recipe_at_first_step_end_of_warmup_and_last_step(
    repository, name: str, peak: float, warmup: int, last: float
) -> None:
    epoch_length = 312
    cfg = Config.fromfile(repository / SCHEDULES / name)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    options = {**cfg.param_scheduler, "optimizer": optimizer, "epoch_length": epoch_length}
    with DefaultScope.overwrite_default_scope("seitpp"):
        scheduler = PARAM_SCHEDULERS.build(options)
    seen = []
    for _ in range(cfg.max_epochs * epoch_length):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen[0] == 0
    assert seen[1] == pytest.approx(peak / (warmup * epoch_length), rel=1e-12)
    assert seen[warmup * epoch_length - 1] < seen[warmup * epoch_length] == pytest.approx(peak, rel=1e-12)
    assert max(seen) == seen[warmup * epoch_length]
    assert seen[-1] == pytest.approx(last, abs=1e-9)
    assert seen[-1] > last  # the final rate would belong to the step after the last


def test_seit_recipe_warms_up_from_its_first_rate() -> None:
    cfg = Config.fromfile(SCHEDULES + "seit_adamw_8xb128-300e.py")
    options = {key: cfg.param_scheduler[key] for key in ("warmup", "start_ratio", "eta_min_ratio", "end")}
    seen = [rate for (rate,) in rates([cfg.optim_wrapper.optimizer.lr], 3001, epoch_length=10, **options)]
    assert seen[0] == pytest.approx(1e-6, rel=1e-9)
    assert seen[25] == pytest.approx((1e-6 + 1.5e-3) / 2, rel=1e-9)
    assert seen[50] == max(seen) == pytest.approx(1.5e-3, rel=1e-9)
    assert seen[-1] == pytest.approx(1e-5, rel=1e-4)  # its last step is one before the end


def test_rate_stays_at_its_floor_after_the_end() -> None:
    seen = rates([1.0], 8, warmup=1, eta_min_ratio=0.25, end=2, epoch_length=2)
    assert seen[4:] == [seen[3]] * 4


def test_schedule_is_by_epoch_without_conversion() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = WarmupCosineLR(optimizer, warmup=2, end=4, by_epoch=True)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx([0, 0.5, 1, 0.5])


def test_state_of_a_resumed_schedule_continues() -> None:
    def make() -> tuple[torch.optim.Optimizer, WarmupCosineLR]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, WarmupCosineLR(optimizer, warmup=2, end=10, by_epoch=False)

    first, first_schedule = make()
    for _ in range(4):
        first.step()
        first_schedule.step()
    second, second_schedule = make()
    second.load_state_dict(first.state_dict())
    second_schedule.load_state_dict(first_schedule.state_dict())
    for optimizer, schedule in ((first, first_schedule), (second, second_schedule)):
        optimizer.step()
        schedule.step()
    assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"] < 1


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_warmup_must_fit_the_schedule(warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=rf"warm-up of {warmup} steps must end before the schedule of 10 steps does"):
        WarmupCosineLR(optimizer, warmup=warmup, end=10)
