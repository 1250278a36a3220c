"""A run that diverges stops before it saves or scores anything, and nothing goes on from what is no number."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from seitpp.engine import FiniteGuardHook, config_changes
from seitpp.engine.guards import finite as finite_guard
from seitpp.evaluation import MaskedCodeMetric, ReconstructionMetric, TokenAdaptMetric
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.models.knn_head import KNNHead

NAN = math.nan


class Spoil(Hook):
    """Writes a value into a weight, or a loss, of the third step."""

    priority = "VERY_HIGH"

    def __init__(self, change: Callable[[Runner, dict], None], step: int = 3) -> None:
        self.change, self.step = change, step

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None):
        if runner.iter + 1 == self.step:
            self.change(runner, outputs)


def spoil_weight(value: float) -> Callable[[Runner, dict], None]:
    def change(runner: Runner, _: dict) -> None:
        runner.model.head.bias.data[0] = value

    return change


def slow(cfg: Config) -> None:
    cfg.auto_scale_lr.enable = False
    cfg.optim_wrapper.optimizer.lr = 1e-4
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None


@pytest.fixture
def mtm(tiny: Callable, mtm_leaf: Path, build_runner: Callable[[Config], Runner]) -> Callable[..., Runner]:
    """An MTM run of two epochs of four steps."""

    def build(*hooks: Hook, **options: object) -> Runner:
        cfg = Config.fromfile(tiny(mtm_leaf, late=slow, num_samples=8, epochs=2))
        cfg.merge_from_dict(options)
        runner = build_runner(cfg)
        for hook in hooks:
            runner.register_hook(hook)
        return runner

    return build


def files(runner: Runner) -> list[str]:
    return sorted(path.name for path in Path(runner.work_dir).glob("*.pth"))


class TestTraining:
    def test_a_rate_that_diverges_stops_the_run_before_it_saves(
        self, tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path
    ) -> None:
        config = tiny(mtm_leaf, num_samples=8, epochs=2)
        line = [config, "--work-dir", tmp_path / "run", "--cfg-options", "auto_scale_lr.enable=False"]
        line += ["optim_wrapper.optimizer.lr=1e20", "param_scheduler.warmup=0"]
        with pytest.raises(ValueError, match=r"training diverged: .* step [1-4]\D.*no checkpoint was written before"):
            tool("train.py", *line)
        assert not list((tmp_path / "run").glob("*.pth"))

    @pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
    def test_a_weight_is_named_with_its_step(self, mtm: Callable, value: float) -> None:
        runner = mtm(Spoil(spoil_weight(value)))
        with pytest.raises(ValueError, match=r"infinite weights in head\.bias after step 3\. .*Lower the rate"):
            runner.train()
        assert not files(runner)

    @pytest.mark.parametrize(("on_gpu", "said"), [(False, "inf"), (True, "NaN or infinite")])
    def test_a_loss_term_is_named_with_its_step(
        self, mtm: Callable, monkeypatch: pytest.MonkeyPatch, on_gpu: bool, said: str
    ) -> None:
        if on_gpu:  # where the verdict is read before a checkpoint is written
            monkeypatch.setattr(finite_guard, "is_cheap_to_read", lambda value: False)
        runner = mtm()
        loss, calls = runner.model.loss, []

        def spoiled(*args: object, **options: object) -> dict:
            calls.append(None)
            terms = loss(*args, **options)
            return {**terms, "loss_extra": torch.tensor(math.inf if len(calls) == 6 else 1.0)}

        monkeypatch.setattr(runner.model, "loss", spoiled)
        with pytest.raises(ValueError, match=rf"the loss term 'loss(_extra)?' is {said} at step 6\. .*epoch_1\.pth"):
            runner.train()
        assert files(runner) == ["epoch_1.pth"]

    def test_on_a_gpu_the_verdict_waits_and_still_names_the_step(
        self, mtm: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(finite_guard, "is_cheap_to_read", lambda value: False)
        steps = []

        class Watch(Hook):
            priority = "LOWEST"

            def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
                steps.append(runner.iter + 1)

        # In a buffer that no loss reads, so that only the verdict can tell; the run goes on to where it saves.
        def spoil(runner: Runner, _: dict) -> None:
            runner.model.head.extra[0] = NAN

        runner = mtm(Spoil(spoil), Watch())
        runner.model.head.register_buffer("extra", torch.zeros(2))
        with pytest.raises(ValueError, match=r"infinite weights in head\.extra after step 3\."):
            runner.train()
        assert steps == [1, 2, 3, 4] and not files(runner)

    def test_the_verdict_is_read_at_the_interval(self, mtm: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(finite_guard, "is_cheap_to_read", lambda value: False)
        runner = mtm(Spoil(spoil_weight(NAN), step=1), **{"default_hooks.finite_guard.interval": 1})
        with pytest.raises(ValueError, match=r"infinite weights in head\.bias after step 1\."):
            runner.train()

    def test_terms_that_are_no_losses_may_be_nan(self, mtm: Callable) -> None:
        def change(runner: Runner, outputs: dict) -> None:
            outputs["accuracy_of_nothing"] = torch.tensor(NAN)

        runner = mtm(Spoil(change))
        runner.train()
        assert files(runner) == ["epoch_1.pth", "epoch_2.pth"]

    def test_a_buffer_that_is_made_infinite_is_let_be(self, mtm: Callable) -> None:
        runner = mtm()
        runner.model.head.register_buffer("mask", torch.full((2,), -math.inf))
        runner.train()
        assert files(runner) == ["epoch_1.pth", "epoch_2.pth"]

    def test_an_optimizer_that_overflows_is_not_saved(self, mtm: Callable) -> None:
        def change(runner: Runner, _: dict) -> None:
            state = runner.optim_wrapper.optimizer.state[runner.model.head.bias]
            state["exp_avg_sq"].fill_(math.inf)

        runner = mtm(Spoil(change, step=4))
        with pytest.raises(ValueError, match=r"infinite values in optimizer\.state\.\d+\.exp_avg_sq at step 4"):
            runner.train()
        assert not files(runner)

    def test_a_model_that_starts_with_nan_is_refused(self, mtm: Callable) -> None:
        class Broken(Hook):
            def before_train(self, runner: Runner) -> None:
                runner.model.head.bias.data[0] = NAN

        with pytest.raises(ValueError, match=r"the model, before the first step, holds values .* in head\.bias"):
            mtm(Broken()).train()

    @pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
    def test_accumulation_names_step_and_iteration(self, mtm: Callable) -> None:
        runner = mtm(Spoil(spoil_weight(NAN)), **{"optim_wrapper.accumulative_counts": 2})
        with pytest.raises(ValueError, match=r"after step 2 \(iteration 3, 2 to a step\)"):
            runner.train()

    def test_interval_is_checked(self) -> None:
        with pytest.raises(ValueError, match="interval of iterations must be at least 1, got 0"):
            FiniteGuardHook(interval=0)


class TestLoading:
    @pytest.fixture
    def trained(self, mtm: Callable) -> Path:
        runner = mtm(**{"train_cfg.max_epochs": 1})
        runner.train()
        return Path(runner.work_dir) / "epoch_1.pth"

    @pytest.mark.parametrize(
        ("part", "name"), [("state_dict", r"head\.bias"), ("optimizer", r"optimizer\.state\.0\.exp_avg")]
    )
    def test_resuming_from_nan_is_refused(self, mtm: Callable, trained: Path, part: str, name: str) -> None:
        checkpoint = load_checkpoint_file(trained)
        if part == "optimizer":
            checkpoint["optimizer"]["state"][0]["exp_avg"].view(-1)[0] = NAN
        else:
            checkpoint["state_dict"]["head.bias"][0] = NAN
        torch.save(checkpoint, trained)
        runner = mtm(resume=True, load_from=str(trained))
        with pytest.raises(ValueError, match=rf"epoch_1\.pth holds values that are NaN or infinite in {name}"):
            runner.train()

    def test_testing_and_starting_from_nan_are_refused(self, tiny: Callable, tool: Callable, mtm: Callable) -> None:
        runner = mtm(**{"train_cfg.max_epochs": 1})
        runner.train()
        path = Path(runner.work_dir) / "epoch_1.pth"
        checkpoint = load_checkpoint_file(path)
        checkpoint["state_dict"]["head.bias"][0] = math.inf
        torch.save(checkpoint, path)
        config = Path(runner.work_dir).parent / "tiny.py"
        with pytest.raises(ValueError, match=r"epoch_1\.pth holds values that are NaN or infinite in head\.bias"):
            tool("test.py", config, path, "--work-dir", path.parent)
        with pytest.raises(ValueError, match=r"epoch_1\.pth holds values that are NaN or infinite in head\.bias"):
            tool("train.py", config, "--work-dir", path.parent / "next", "--cfg-options", f"load_from={path}")


class TestScores:
    def test_a_classifier_that_gives_nan_is_not_scored(
        self, tiny: Callable, finetune_leaf: Path, build_runner: Callable
    ) -> None:
        cfg = Config.fromfile(tiny(finetune_leaf))
        runner = build_runner(cfg)
        runner.model.head.fc.weight.data[0, 0] = NAN
        cannot = r"Accuracy, CrossEntropy cannot score .*: 2 of 2 samples of {} batch 1 .* pred_score"
        with pytest.raises(ValueError, match=cannot.format("validation")):
            runner.val()
        with pytest.raises(ValueError, match=cannot.format("test")):
            runner.test()

    def test_a_segmentor_that_gives_nan_is_not_scored(
        self, tiny: Callable, repository: Path, build_runner: Callable
    ) -> None:
        (leaf,) = (repository / "configs" / "segmentation").glob("upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py")
        runner = build_runner(Config.fromfile(tiny(leaf)))
        runner.model.decode_head.conv_seg.bias.data[0] = NAN
        with pytest.raises(ValueError, match=r"IoUMetric cannot score .*samples of validation batch 1 .* logit_range"):
            runner.val()

    def test_masked_codes(self) -> None:
        metric = MaskedCodeMetric()
        samples = [{"num_correct": 1, "num_codes": 2, "nll": nll, "codebook_size": 8} for nll in (1.0, NAN, math.inf)]
        metric.process({}, samples)
        with pytest.raises(ValueError, match=r"MaskedCodeMetric cannot score .*: 2 of 3 samples have a NaN"):
            metric.evaluate(3)

    def test_token_adapt(self) -> None:
        metric = TokenAdaptMetric()
        rows = torch.tensor([[[0.5, 0.1], [0.5, NAN], [0.5, NAN], [NAN, NAN], [1.0, NAN]]])
        bad = rows.clone()
        bad[0, 0] = NAN
        samples = [{"token_adapt_names": ("flip",), "token_adapt_scores": row} for row in (rows, bad)]
        metric.process({}, samples)
        with pytest.raises(ValueError, match=r"TokenAdaptMetric cannot score .*: 1 of 2 samples"):
            metric.evaluate(2)

    def test_reconstructions(self) -> None:
        images = torch.rand(3, 16, 16)
        sample = {"pixel_range": (0.0, 1.0), "codebook_size": 4, "image": images, "codes": torch.zeros(2, 2).long()}
        metric = ReconstructionMetric()
        metric.process({}, [{**sample, "reconstruction": images}, {**sample, "reconstruction": images * NAN}])
        with pytest.raises(ValueError, match=r"ReconstructionMetric cannot score .*: 1 of 2 samples"):
            metric.evaluate(2)

    def test_neighbours(self) -> None:
        features = torch.rand(4, 3)
        features[2, 1] = math.inf
        with pytest.raises(ValueError, match="1 of the 4 features of the bank of neighbours are NaN or infinite"):
            KNNHead(num_classes=2, in_channels=3).set_bank(features, torch.tensor([0, 1, 0, 1]))


class TestLaunch:
    def test_a_config_without_it_gets_it(self) -> None:
        config = Config({"default_hooks": {"timer": {"type": "IterTimerHook"}}})
        config_changes.use_guards(config)
        assert config.default_hooks.finite_guard.type == "seitpp.FiniteGuardHook"
        assert config.default_hooks.timer.type == "IterTimerHook"

    @pytest.mark.parametrize(
        "options",
        [
            {"default_hooks": {"finite_guard": None}},
            {"default_hooks": {"own": {"type": "FiniteGuardHook"}}},
            {"custom_hooks": [{"type": "seitpp.FiniteGuardHook", "interval": 10}]},
        ],
    )
    def test_a_config_that_has_it_or_wants_none_stays(self, options: dict) -> None:
        config = Config(options)
        config_changes.use_guards(config)
        assert config.default_hooks.get("finite_guard") is None
