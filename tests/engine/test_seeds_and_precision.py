"""Draws as a function of (seed, step, rank), and training in bfloat16."""

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.engine import AutocastOptimWrapper, StepSeedHook, config_changes, step_seed_hook
from seitpp.models import MTM, TokenDataPreprocessor
from seitpp.structures.seeds import step_seed

INPUTS = [(seed, step, rank) for seed in range(4) for step in range(50) for rank in range(4)]


def test_step_seed_stays_the_same_over_versions() -> None:
    assert [step_seed(0, 0, 0), step_seed(0, 1, 0), step_seed(0, 0, 1)] == [2319392274, 306705043, 445697578]


def test_step_seeds_of_near_inputs_all_differ() -> None:
    assert len({step_seed(*values) for values in INPUTS}) == len(INPUTS)


def test_step_seeds_fill_32_bits_evenly() -> None:
    seeds = np.array([step_seed(*values) for values in INPUTS])
    assert seeds.min() >= 0
    assert seeds.max() < 2**32
    share_set = ((seeds[:, None] >> np.arange(32)) & 1).mean(axis=0)
    assert abs(share_set - 0.5).max() < 5 * 0.5 / len(INPUTS) ** 0.5


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def draws_at(seed: int, iteration: int) -> tuple[float, float, float]:
    StepSeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration), 0)
    return draws()


@pytest.fixture
def keep_generators() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


@pytest.mark.usefixtures("keep_generators")
class TestStepSeedHook:
    def test_draws_do_not_depend_on_earlier_ones(self) -> None:
        first = draws_at(0, 5)
        draws()
        assert draws_at(0, 5) == first

    @pytest.mark.parametrize(("seed", "iteration"), [(0, 6), (1, 5)])
    def test_draws_depend_on_seed_and_step(self, seed: int, iteration: int) -> None:
        assert not set(draws_at(0, 5)) & set(draws_at(seed, iteration))

    def test_draws_depend_on_the_rank(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = draws_at(0, 5)
        monkeypatch.setattr(step_seed_hook, "get_rank", lambda: 1)
        assert not set(draws_at(0, 5)) & set(first)


class DrawingHook(Hook):
    """Draws before each step, as data loading or validation of another length would."""

    def after_train_iter(self, runner: Runner, **_kwargs: object) -> None:
        torch.rand(runner.iter + 3)


@pytest.fixture
def mtm(repository: Path, tmp_path: Path) -> Config:
    config = Config.fromfile(repository / "configs/seitpp/mtm_vitb.py")
    return shrink(config, tmp_path)


def test_masks_of_a_run_depend_on_seed_and_step_alone(
    mtm: Config, build_runner: Callable[[Config], Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    loss_on_masks = MTM.loss_on_masks

    def record(self: MTM, codes: torch.Tensor, masks: object) -> dict:
        seen.append(masks.mask)
        return loss_on_masks(self, codes, masks)

    monkeypatch.setattr(MTM, "loss_on_masks", record)
    runs = []
    for hook in (None, DrawingHook()):
        runner = build_runner(copy.deepcopy(mtm))
        if hook is not None:
            runner.register_hook(hook)
        seen.clear()
        runner.train()
        runs.append(list(seen))
    assert len(runs[0]) == 4
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))
    assert not any(torch.equal(runs[0][0], other) for other in runs[0][1:])


def recorded_run(
    cfg: Config, build_runner: Callable[[Config], Runner], monkeypatch: pytest.MonkeyPatch
) -> tuple[Runner, list[torch.Tensor], set[torch.dtype]]:
    """Trains, and tells the codes that the model was given and the types that its blocks computed in."""
    codes, types = [], set()
    forward = TokenDataPreprocessor.forward

    def record(self: TokenDataPreprocessor, data: dict, training: bool = False) -> dict:
        batch = forward(self, data, training)
        if training:
            codes.append(batch["inputs"])
        return batch

    monkeypatch.setattr(TokenDataPreprocessor, "forward", record)
    runner = build_runner(cfg)
    for layer in runner.model.backbone.layers:
        layer.attn.qkv.register_forward_hook(
            lambda module, inputs, output: types.add(output.dtype) if module.training else None
        )
    runner.train()
    monkeypatch.setattr(TokenDataPreprocessor, "forward", forward)
    return runner, codes, types


def test_autocast_trains_in_bfloat16_on_the_same_codes(
    mtm: Config, build_runner: Callable[[Config], Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    # TokenAdapt's network runs in bfloat16, too, and may decide otherwise; all other augmentation must not.
    mtm.data_preprocessor.augments = mtm.data_preprocessor.augments[0].first
    amp = copy.deepcopy(mtm)
    config_changes.use_autocast(amp)
    _, codes, types = recorded_run(mtm, build_runner, monkeypatch)
    runner, amp_codes, amp_types = recorded_run(amp, build_runner, monkeypatch)
    assert isinstance(runner.optim_wrapper, AutocastOptimWrapper)
    assert (types, amp_types) == ({torch.float32}, {torch.bfloat16})
    assert all(torch.equal(first, second) for first, second in zip(codes, amp_codes, strict=True))
    assert {parameter.dtype for parameter in runner.model.parameters()} == {torch.float32}


def test_autocast_accumulates(mtm: Config, build_runner: Callable[[Config], Runner]) -> None:
    config_changes.use_autocast(mtm)
    mtm.optim_wrapper.accumulative_counts = 2
    runner = build_runner(mtm)
    with pytest.warns(UserWarning, match="Detected call of `scheduler.step\\(\\)` before"):
        runner.train()
    steps = {int(state["step"]) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {2}  # of 4 batches


@pytest.mark.parametrize("kind", ["AmpOptimWrapper", "mmengine.AmpOptimWrapper"])
def test_autocast_replaces_only_a_plain_wrapper(kind: str) -> None:
    with pytest.raises(ValueError, match=f"--amp replaces a plain OptimWrapper, .* is a {kind}"):
        config_changes.use_autocast(Config({"optim_wrapper": {"type": kind}}))
    config = Config({})
    config.optim_wrapper = {"type": OptimWrapper}
    config_changes.use_autocast(config)
    assert config.optim_wrapper.type == "seitpp.AutocastOptimWrapper"


@pytest.mark.parametrize("options", [{}, {"type": "mmengine.OptimWrapper"}, {"type": "seitpp.AutocastOptimWrapper"}])
def test_autocast_keeps_the_other_options(options: dict) -> None:
    config = Config({"optim_wrapper": {**options, "clip_grad": {"max_norm": 1.0}}})
    config_changes.use_autocast(config)
    assert config.optim_wrapper == {"type": "seitpp.AutocastOptimWrapper", "clip_grad": {"max_norm": 1.0}}
