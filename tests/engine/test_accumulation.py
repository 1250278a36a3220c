"""With accumulated batches everything counts optimizer steps: averages, schedules, validations, checkpoints."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from seitpp.engine import StepEMAHook, StepTrainLoop, config_changes, launch
from seitpp.io.checkpoint import load_checkpoint_file

pytestmark = pytest.mark.filterwarnings(r"ignore:Detected call of `(lr_)?scheduler\.step")


class Count(Hook):
    """What a run did: steps of the optimizer, rates at each, validations."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.validated: list[int] = []
        self.seen: list[int] = []

    def before_train(self, runner: Runner) -> None:
        optimizer = runner.optim_wrapper.optimizer
        optimizer.register_step_post_hook(lambda *_: self.rates.append(optimizer.param_groups[0]["lr"]))

    def after_train_iter(self, runner: Runner, batch_idx: int, *_: object, **__: object) -> None:
        self.seen.append(batch_idx)

    def before_val(self, runner: Runner) -> None:
        self.validated.append(runner.iter)


def by_iteration(cfg: Config) -> None:
    """An MTM by iteration: 12 steps, warm-up over 4, validations and checkpoints at every 6."""
    cfg.auto_scale_lr.enable = False
    cfg.optim_wrapper.optimizer.lr = 1e-3
    cfg.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 6}
    cfg.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True}
    cfg.param_scheduler = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 4},
        {"type": "PolyLR", "power": 1.0, "by_epoch": False, "begin": 4, "end": 12},
    ]
    cfg.default_hooks.checkpoint = {
        "type": "CheckpointHook",
        "by_epoch": False,
        "interval": 6,
        "max_keep_ckpts": -1,
    }
    cfg.log_processor = {"by_epoch": False}


@pytest.fixture
def run(tiny: Callable, mtm_leaf: Path, build_runner: Callable, tmp_path: Path) -> Callable[..., tuple[Runner, Count]]:
    """Trains MTM; `edit` changes the shrunken config."""

    def train(name: str, edit: Callable[[Config], object], **options: object) -> tuple[Runner, Count]:
        cfg = Config.fromfile(tiny(mtm_leaf, num_samples=8, epochs=3))
        edit(cfg)
        cfg.work_dir = str(tmp_path / name)
        cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})
        config_changes.use_whole_steps(cfg, 1)
        runner, count = build_runner(cfg), Count()
        runner.register_hook(count)
        runner.train()
        return runner, count

    return train


class TestByIteration:
    @pytest.mark.parametrize("accumulated", [1, 4])
    def test_all_counts_are_of_steps(self, run: Callable, tmp_path: Path, accumulated: int) -> None:
        runner, count = run("run", by_iteration, optim_wrapper__accumulative_counts=accumulated)
        assert type(runner.train_loop) is (StepTrainLoop if accumulated > 1 else IterBasedTrainLoop)
        assert count.seen == list(range(12)) and count.validated == [6, 12]
        assert {path.name for path in (tmp_path / "run").glob("*.pth")} == {"iter_6.pth", "iter_12.pth"}
        rates = [1e-3 * min(0.1 + 0.3 * step, 1) for step in range(3)]
        assert len(count.rates) == 12 and count.rates[:3] == pytest.approx(rates)
        assert count.rates[3] == pytest.approx(1e-3) and count.rates[-1] == 0

    @pytest.mark.slow
    def test_losses_of_a_step_are_means_over_its_batches(self, run: Callable) -> None:
        runner, _ = run("run", by_iteration, optim_wrapper__accumulative_counts=4)
        history = runner.message_hub.get_scalar("train/loss")
        assert len(history.data[0]) == 12

    @pytest.mark.parametrize("at", [6])
    def test_resuming_is_bit_for_bit(
        self, run: Callable, tmp_path: Path, assert_same_training: Callable, at: int
    ) -> None:
        run("whole", by_iteration, optim_wrapper__accumulative_counts=2)
        start = str(tmp_path / "whole" / f"iter_{at}.pth")
        run("resumed", by_iteration, optim_wrapper__accumulative_counts=2, resume=True, load_from=start)
        assert_same_training(tmp_path / "whole" / "iter_12.pth", tmp_path / "resumed" / "iter_12.pth")

    def test_a_checkpoint_that_counts_batches_is_refused(self, run: Callable, tmp_path: Path) -> None:
        run("run", by_iteration, optim_wrapper__accumulative_counts=4)
        path = tmp_path / "run" / "iter_6.pth"
        content = load_checkpoint_file(path)
        del content["meta"]["iterations_per_step"]
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"counts 6 iterations, 4 to a step of 8 samples, and this run 1 "):
            run("new", by_iteration, optim_wrapper__accumulative_counts=4, resume=True, load_from=str(path))


class TestByEpoch:
    def test_a_schedule_by_iteration_is_refused_with_the_arithmetic(self, run: Callable) -> None:
        def edit(cfg: Config) -> None:
            cfg.param_scheduler = [{"type": "LinearLR", "by_epoch": False, "end": 500}]

        match = r"param_scheduler\.0 \(LinearLR\) counts iterations.* 500 of which are 125 steps; .*by_epoch=True"
        with pytest.raises(ValueError, match=match):
            run("run", edit, optim_wrapper__accumulative_counts=4)

    def test_a_checkpoint_inside_a_step_is_refused_with_the_arithmetic(self, run: Callable) -> None:
        def edit(cfg: Config) -> None:
            cfg.default_hooks.checkpoint = {"type": "CheckpointHook", "by_epoch": False, "interval": 6}

        with pytest.raises(ValueError, match=r"interval=6 counts iterations.* multiple of 4, such as 24 for 6 steps"):
            run("run", edit, optim_wrapper__accumulative_counts=4)


MOMENTUM = 0.25


class Average(Hook):
    """The average by its definition: a copy after the first step, then a step towards the weights after each."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None
        self.steps = 0

    def before_train(self, runner: Runner) -> None:
        runner.optim_wrapper.optimizer.register_step_post_hook(lambda *_: self.update(runner))

    def update(self, runner: Runner) -> None:
        weight = runner.model.head.bias.detach().clone()
        self.value = weight if self.value is None else self.value.lerp(weight, MOMENTUM)
        self.steps += 1


def with_average(kind: object, **options: object) -> Callable[[Config], None]:
    def edit(cfg: Config) -> None:
        cfg.auto_scale_lr.enable = False
        cfg.optim_wrapper.optimizer.lr = 0.1
        cfg.param_scheduler = None
        cfg.custom_hooks = [{"type": kind, "momentum": MOMENTUM, **options}]

    return edit


def ema_of(runner: Runner) -> StepEMAHook:
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return hook


class TestAverage:
    @pytest.fixture
    def average(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Average]:
        hook, build = Average(), launch.build_runner

        def with_hook(cfg: Config) -> Runner:
            runner = build(cfg)
            runner.register_hook(hook)
            return runner

        monkeypatch.setattr(launch, "build_runner", with_hook)
        return hook

    @pytest.mark.parametrize(
        ("kind", "accumulated"),
        [
            ("EMAHook", 1),
            ("EMAHook", 4),
            ("mmengine.EMAHook", 2),
            ("mmpretrain.EMAHook", 2),
            ("seitpp.StepEMAHook", 2),
        ],
    )
    def test_it_follows_steps(self, run: Callable, average: Average, kind: object, accumulated: int) -> None:
        runner, _ = run("run", with_average(kind), optim_wrapper__accumulative_counts=accumulated)
        hook = ema_of(runner)
        assert type(hook) is StepEMAHook
        assert average.steps == 12 // accumulated == int(hook.ema_model.steps)
        assert torch.equal(hook.ema_model.module.head.bias, average.value)

    def test_it_begins_at_a_step(self, run: Callable) -> None:
        runner, _ = run("run", with_average("EMAHook", begin_iter=3), optim_wrapper__accumulative_counts=2)
        assert int(ema_of(runner).ema_model.steps) == 4  # steps 3 to 6

    def test_annealing_counts_steps(self, run: Callable) -> None:
        edit = with_average("EMAHook", ema_type="MomentumAnnealingEMA", gamma=2)
        runner, _ = run("run", edit, optim_wrapper__accumulative_counts=2)
        assert int(ema_of(runner).ema_model.steps) == 6

    def test_resuming_is_bit_for_bit(self, run: Callable, tmp_path: Path) -> None:
        edit = with_average("EMAHook")
        run("whole", edit, optim_wrapper__accumulative_counts=2)
        start = str(tmp_path / "whole" / "epoch_1.pth")
        run("resumed", edit, optim_wrapper__accumulative_counts=2, resume=True, load_from=start)
        one, two = (tmp_path / name / "epoch_3.pth" for name in ("whole", "resumed"))
        for part in ("state_dict", "ema_state_dict"):
            first, second = (load_checkpoint_file(path)[part] for path in (one, two))
            assert all(torch.equal(first[key], second[key]) for key in first)
        assert first["steps"] == 6

    def test_a_run_that_starts_from_another_counts_anew(self, run: Callable, tmp_path: Path) -> None:

        def edit(cfg: Config) -> None:
            with_average("EMAHook")(cfg)
            cfg.custom_hooks = [{"type": "EMAHook", "ema_type": "StochasticWeightAverage"}]

        run("first", edit)
        runner, _ = run("second", edit, load_from=str(tmp_path / "first" / "epoch_3.pth"))
        assert int(ema_of(runner).ema_model.steps) == 12

    @pytest.mark.slow
    def test_two_optimizers_that_step_together(self, tiny: Callable, repository: Path, build_runner: Callable) -> None:
        leaf = repository / "configs" / "tokenizers" / "vitvqgan_small-p8-k8192_8xb32-100e_in1k-256px.py"
        cfg = Config.fromfile(tiny(leaf, num_samples=4, epochs=1))
        cfg.optim_wrapper.accumulative_counts = 2
        cfg.custom_hooks = [{"type": "EMAHook", "momentum": MOMENTUM}]
        runner = build_runner(cfg)
        runner.train()
        assert runner.iter == 2 * int(ema_of(runner).ema_model.steps)


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Squares(BaseModel):
    """A model of one weight per part, whose loss is the sum of both times the batch."""

    def __init__(self) -> None:
        super().__init__(data_preprocessor=dict(type="BaseDataPreprocessor"))
        self.rest, self.adversarial = torch.nn.Linear(3, 1, bias=False), torch.nn.Linear(3, 1, bias=False)

    def forward(self, inputs: torch.Tensor, mode: str) -> dict[str, torch.Tensor]:
        return {"loss": (self.rest(inputs) + self.adversarial(inputs)).mean()}


@pytest.mark.filterwarnings("ignore:.*broadcast_buffers", "ignore:Parameter indices")
@pytest.mark.parametrize(
    "options",
    [
        {"type": "seitpp.OptimWrapper"},
        {"type": "seitpp.AutocastOptimWrapper"},
        {"type": "OptimWrapper", "constructor": "seitpp.AdversarialOptimWrapperConstructor"},
    ],
    ids=["plain", "bfloat16", "joint"],
)
def test_processes_exchange_gradients_once_per_step(process_group: None, options: dict) -> None:
    exchanges: list[int] = []

    def exchange(counted: list[int], bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        counted.append(len(batches))
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model = MMDistributedDataParallel(Squares(), broadcast_buffers=False)
    model.register_comm_hook(exchanges, exchange)
    optimizer = {"type": "SGD", "lr": 1.0}
    wrapper = build_optim_wrapper(model, {**options, "optimizer": optimizer, "accumulative_counts": 3})
    wrapper.initialize_count_status(model, 0, 6)
    before, batches = model.module.rest.weight.detach().clone(), []
    for number in range(6):
        batches.append(torch.full((2, 3), float(number)))
        model.train_step({"inputs": batches[-1]}, wrapper)
    assert exchanges == [3, 6]
    # Each step has the mean gradient of its three batches: 1, and 4.
    torch.testing.assert_close(model.module.rest.weight.detach(), before - 5, rtol=0, atol=0.02)
