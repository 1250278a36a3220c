"""`tools/train.py` and `tools/test.py` from end to end on one process: options, resuming, fine-tuning, safety."""

import json
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from seitpp.engine import launch
from seitpp.io.checkpoint import load_checkpoint_file as load
from seitpp.models.mtm.masking import TruncatedNormalRatio


def scalars(work_dir: Path) -> list[dict]:
    """What the runs in a work folder logged, in order."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_training_writes_checkpoints_and_scores(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    assert tool("train.py", tiny(mtm_leaf)) == 0
    work_dir = tmp_path / "work_dir"
    assert {path.name for path in work_dir.glob("*.pth")} == {"epoch_1.pth", "epoch_2.pth"}
    assert (work_dir / "last_checkpoint").read_text() == str(work_dir / "epoch_2.pth")
    assert (work_dir / "tiny.py").is_file()
    logged = scalars(work_dir)
    assert sum("loss" in entry for entry in logged) == 4
    assert sum("masked_code/accuracy" in entry for entry in logged) == 2


def test_second_run_in_a_work_folder_is_refused(
    tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_PATIENCE_SECONDS", 0.0)
    with (
        launch.alone_in(tmp_path / "work_dir", "none"),
        pytest.raises(BlockingIOError, match="wait until it has ended"),
    ):
        tool("train.py", tiny(mtm_leaf))
    assert not list((tmp_path / "work_dir").glob("*.pth"))


def test_training_is_repeatable(
    tiny: Callable, tool: Callable, assert_same_training: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(mtm_leaf)
    for name in ("a", "b"):
        tool("train.py", config, "--work-dir", tmp_path / name)
    assert_same_training(tmp_path / "a" / "epoch_2.pth", tmp_path / "b" / "epoch_2.pth")


def test_seed_changes_the_training(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    config = tiny(mtm_leaf, epochs=1)
    for seed in (0, 1):
        tool("train.py", config, "--work-dir", tmp_path / str(seed), "--cfg-options", f"randomness.seed={seed}")
    first, second = (load(tmp_path / name / "epoch_1.pth")["state_dict"]["head.fc.weight"] for name in "01")
    assert not torch.equal(first, second)


def raise_rate(cfg: Config) -> None:
    """A rate at which a difference in any draw shows in the weights."""
    cfg.auto_scale_lr.enable = False
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1


def test_recipe_under_test_draws_in_every_step(mtm_leaf: Path) -> None:
    """The resume tests below would prove little without random ratio, dropout and augmentation."""
    cfg = Config.fromfile(mtm_leaf)
    ratio = TruncatedNormalRatio(**cfg.model.mask_ratio)
    assert ratio.low < ratio.high
    assert min(cfg.model.backbone.token_drop_rate, cfg.model.neck.drop_rate, cfg.model.neck.attn_drop_rate) > 0
    (split,) = cfg.data_preprocessor.augments
    assert [augment.type for augment in split.first] == ["seitpp.TokenRRC", "seitpp.ToCodes"]
    assert [augment.type for augment in split.second] == ["seitpp.TokenAdaptAugment"]


def test_killed_and_resumed_equals_uninterrupted(
    tiny: Callable, tool: Callable, fork: Callable, assert_same_training: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    """The run that is killed holds its data in memory, which changes nothing."""
    config = tiny(mtm_leaf, late=raise_rate, num_samples=8, epochs=12)
    tool("train.py", config, "--work-dir", tmp_path / "whole")

    killed, in_memory = tmp_path / "killed", ("--cfg-options", "train_dataloader.dataset.device=cpu")
    (child,) = fork("train.py", config, "--work-dir", killed, *in_memory)
    deadline = time.monotonic() + 120
    while not (killed / "last_checkpoint").exists() and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))  # somewhere inside an epoch, or while a checkpoint is being written
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not (killed / "epoch_12.pth").exists()

    tool("train.py", config, "--work-dir", killed, "--resume", *in_memory)
    assert_same_training(tmp_path / "whole" / "epoch_12.pth", killed / "epoch_12.pth")
    before, *after = [entry["epoch"] for entry in scalars(killed) if "loss" in entry]
    assert before == 1
    assert after[-1] == 12


def test_resume_without_a_checkpoint_starts(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    tool("train.py", tiny(mtm_leaf, epochs=1), "--resume")
    assert load(tmp_path / "work_dir" / "epoch_1.pth")["meta"]["iter"] == 2


def test_resume_from_a_named_checkpoint_in_a_moved_folder(
    tiny: Callable, tool: Callable, assert_same_training: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(mtm_leaf, late=raise_rate, epochs=3)
    tool("train.py", config, "--work-dir", tmp_path / "whole")
    (tmp_path / "whole").rename(tmp_path / "moved")
    tool("train.py", config, "--work-dir", tmp_path / "new", "--resume", tmp_path / "moved" / "epoch_2.pth")
    assert not (tmp_path / "new" / "epoch_2.pth").exists()
    assert_same_training(tmp_path / "moved" / "epoch_3.pth", tmp_path / "new" / "epoch_3.pth")


@pytest.mark.filterwarnings("ignore:Detected call of .scheduler.step:UserWarning")  # at accumulated batches
def test_resume_with_accumulation_equals_uninterrupted(
    tiny: Callable, tool: Callable, assert_same_training: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    """Holds where an epoch is a whole number of steps; else the checkpoint falls between accumulated batches."""
    options = ["--cfg-options", "optim_wrapper.accumulative_counts=2"]
    config = tiny(mtm_leaf, late=raise_rate, num_samples=8, epochs=3)
    tool("train.py", config, "--work-dir", tmp_path / "whole", *options)
    line = ["--work-dir", tmp_path / "resumed", "--resume", tmp_path / "whole" / "epoch_1.pth"]
    tool("train.py", config, *line, *options)
    assert_same_training(tmp_path / "whole" / "epoch_3.pth", tmp_path / "resumed" / "epoch_3.pth")


def test_resume_at_another_batch_is_refused(tiny: Callable, tool: Callable, mtm_leaf: Path) -> None:
    config = tiny(mtm_leaf, epochs=1)
    tool("train.py", config)
    with pytest.raises(ValueError, match="was trained with 2 samples per step"):
        tool("train.py", config, "--resume", "--cfg-options", "train_dataloader.batch_size=1")


def test_amp_trains_in_bfloat16(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    config = tiny(mtm_leaf, late=raise_rate, epochs=1)
    tool("train.py", config, "--work-dir", tmp_path / "float")
    tool("train.py", config, "--work-dir", tmp_path / "amp", "--amp")
    assert "AutocastOptimWrapper" in (tmp_path / "amp" / "tiny.py").read_text()
    losses = [[entry["loss"] for entry in scalars(tmp_path / name) if "loss" in entry] for name in ("float", "amp")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_half_of_the_images_with_as_many_iterations(
    tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    tool("train.py", tiny(mtm_leaf, epochs=1), "--fraction", "0.5")
    meta = load(tmp_path / "work_dir-50pct" / "epoch_1.pth")["meta"]
    assert (meta["iter"], meta["dataset_meta"]["subset"]["num_samples"]) == (2, 2)  # of 4 images
    assert not (tmp_path / "work_dir").exists()


def test_options_reach_the_run(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    options = ["train_dataloader.batch_size=1", "model.neck.num_layers=1"]
    tool("train.py", tiny(mtm_leaf, epochs=1), "--work-dir", tmp_path / "mine", "--cfg-options", *options)
    checkpoint = load(tmp_path / "mine" / "epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 4
    assert "neck.layers.1.ln1.weight" not in checkpoint["state_dict"]
    assert not (tmp_path / "work_dir").exists()


def test_no_validate(tiny: Callable, tool: Callable, finetune_leaf: Path, tmp_path: Path) -> None:
    tool("train.py", tiny(finetune_leaf, epochs=1), "--no-validate")
    assert not any("accuracy/top1" in entry for entry in scalars(tmp_path / "work_dir"))
    assert (tmp_path / "work_dir" / "epoch_1.pth").is_file()


def test_rate_is_scaled_to_the_batch(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    tool("train.py", tiny(mtm_leaf, epochs=1))
    groups = load(tmp_path / "work_dir" / "epoch_1.pth")["optimizer"]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {2.4e-3 * 2 / 4096}


def test_auto_scale_lr_switches_scaling_on(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    tool("train.py", tiny(mtm_leaf, late=raise_rate, epochs=1), "--auto-scale-lr")
    groups = load(tmp_path / "work_dir" / "epoch_1.pth")["optimizer"]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {2.4e-3 * 2 / 4096}


def test_auto_scale_lr_needs_a_base_batch_size(tiny: Callable, tool: Callable, mtm_leaf: Path) -> None:
    config = tiny(mtm_leaf, late=lambda cfg: cfg.pop("auto_scale_lr"))
    with pytest.raises(ValueError, match=r"--auto-scale-lr needs auto_scale_lr\.base_batch_size in the config"):
        tool("train.py", config, "--auto-scale-lr")


def without_draws(cfg: Config) -> None:
    """A classifier whose every step is a function of its samples."""
    cfg.model.backbone.update(token_drop_rate=0.0, drop_path_rate=0.0)
    crop = cfg.data_preprocessor.augments[1].first[0]
    cfg.data_preprocessor.augments = [dict(crop, scale=(1.0, 1.0), ratio=(1.0, 1.0))]
    cfg.default_hooks.checkpoint.pop("save_best")


@pytest.mark.filterwarnings("ignore:Detected call of .scheduler.step:UserWarning")  # at accumulated batches
def test_accumulated_batches_make_the_update_of_one_large_batch(
    tiny: Callable, tool: Callable, finetune_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(finetune_leaf, late=without_draws, num_samples=8, epochs=1)
    for batch_size, accumulated in ((8, 1), (2, 4)):
        options = [f"train_dataloader.batch_size={batch_size}", f"optim_wrapper.accumulative_counts={accumulated}"]
        tool("train.py", config, "--work-dir", tmp_path / str(batch_size), "--cfg-options", *options)
    whole, parts = (load(tmp_path / name / "epoch_1.pth") for name in ("8", "2"))
    assert (whole["meta"]["samples_per_step"], parts["meta"]["samples_per_step"]) == (8, 8)
    for number, state in whole["optimizer"]["state"].items():
        other = parts["optimizer"]["state"][number]
        assert state["step"] == other["step"] == 1
        gradient, accumulated = (moments["exp_avg"] for moments in (state, other))  # a tenth of the gradient
        torch.testing.assert_close(accumulated, gradient, rtol=1e-4, atol=1e-7)
    rates = [[group["initial_lr"] for group in run["optimizer"]["param_groups"]] for run in (whole, parts)]
    assert rates[0] == rates[1]


def test_finetuning_starts_from_the_trained_encoder(
    tiny: Callable, tool: Callable, mtm_leaf: Path, finetune_leaf: Path, tmp_path: Path
) -> None:
    tool("train.py", tiny(mtm_leaf, "mtm"), "--work-dir", tmp_path / "mtm")
    trained = tmp_path / "mtm" / "epoch_2.pth"
    options = [
        f"model.backbone.init_cfg.checkpoint={trained}",
        "optim_wrapper.optimizer.lr=0",
        "param_scheduler.eta_min_ratio=0",
    ]
    tool("train.py", tiny(finetune_leaf, epochs=1), "--work-dir", tmp_path / "finetuned", "--cfg-options", *options)
    before = load(trained)["state_dict"]
    after = load(tmp_path / "finetuned" / "epoch_1.pth")["state_dict"]
    encoder = [name for name in after if name.startswith("backbone.")]
    assert {"backbone.token_embed.word_embeddings.weight", "backbone.patch_embed.projection.weight"} <= set(encoder)
    for name in encoder:
        source = name.replace("backbone.ln2", "backbone.ln1")  # the last norm becomes the one after pooling
        assert torch.equal(after[name], before[source]), name


def test_finetuning_needs_its_checkpoint(tiny: Callable, tool: Callable, finetune_leaf: Path) -> None:
    config = tiny(finetune_leaf)
    with pytest.raises(FileNotFoundError, match=r"checkpoint not-there\.pth does not exist"):
        tool("train.py", config, "--cfg-options", "model.backbone.init_cfg.checkpoint=not-there.pth")


def test_test_tool_repeats_the_score_of_training(
    tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(mtm_leaf, epochs=1)
    tool("train.py", config)
    (score,) = (entry for entry in scalars(tmp_path / "work_dir") if "masked_code/nll" in entry)
    out = tmp_path / "out" / "score.json"
    line = [config, tmp_path / "work_dir" / "epoch_1.pth", "--work-dir", tmp_path / "test"]
    assert tool("test.py", *line, "--out", out) == 0
    metrics = json.loads(out.read_text())
    assert set(metrics) == {f"masked_code/{name}" for name in ("accuracy", "nll", "perplexity", "uniform_nll")}
    for name, value in metrics.items():
        assert score[name] == pytest.approx(value, rel=1e-9)
    assert [path.name for path in out.parent.iterdir()] == ["score.json"]


def test_test_tool_needs_no_pretrained_weights(
    tiny: Callable, tool: Callable, finetune_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(finetune_leaf, epochs=1)
    tool("train.py", config)
    (tmp_path / "pretrained-backbone.pth").unlink()
    assert tool("test.py", config, tmp_path / "work_dir" / "epoch_1.pth", "--work-dir", tmp_path / "test") == 0


# Torch's own words, and ours.
REFUSAL = "Weights only load failed|nothing in it was run"


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def payload(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint that carries code, and the folder that the code would make."""
    mark = tmp_path / "was-run"
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "meta": {}, "extra": Payload(mark)}, tmp_path / "evil.pth")
    return tmp_path / "evil.pth", mark


def test_payload_runs_where_nothing_forbids_it(payload: tuple[Path, Path]) -> None:
    path, mark = payload
    torch.load(path, weights_only=False)
    assert mark.is_dir()


@pytest.mark.parametrize("option", ["load_from", "resume", "init_cfg", "codebook"])
def test_pickled_code_in_training_is_not_run(
    tiny: Callable, tool: Callable, finetune_leaf: Path, payload: tuple[Path, Path], option: str
) -> None:
    path, mark = payload
    arguments = {
        "load_from": ["--cfg-options", f"load_from={path}"],
        "resume": ["--resume", path],
        "init_cfg": ["--cfg-options", f"model.backbone.init_cfg.checkpoint={path}"],
        "codebook": ["--cfg-options", f"data_preprocessor.codebook={path}"],
    }[option]
    with pytest.raises((ValueError, pickle.UnpicklingError), match=REFUSAL):
        tool("train.py", tiny(finetune_leaf), *arguments)
    assert not mark.exists()


def test_pickled_code_in_testing_is_not_run(
    tiny: Callable, tool: Callable, mtm_leaf: Path, payload: tuple[Path, Path]
) -> None:
    path, mark = payload
    with pytest.raises((ValueError, pickle.UnpicklingError), match=REFUSAL):
        tool("test.py", tiny(mtm_leaf), path)
    assert not mark.exists()


def test_tensorboard_is_one_line(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    base = tiny(mtm_leaf, epochs=1)
    config = tmp_path / "with_tensorboard.py"
    line = "visualizer = dict(vis_backends=[dict(type='mmengine.TensorboardVisBackend')])"
    config.write_text(f"_base_ = '{base.name}'\n{line}\n")
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(
            ValueError, match=r"needs the package tensorboard; install it with `pip install -e .\[optional\]`"
        ):
            tool("train.py", config)
    else:
        tool("train.py", config)
        (events,) = (tmp_path / "work_dir").glob("*/vis_data/events.out.tfevents.*")
        assert b"masked_code/accuracy" in events.read_bytes()


def test_testing_in_bfloat16(tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    config = tiny(mtm_leaf, epochs=1)
    tool("train.py", config, "--work-dir", tmp_path / "run", "--no-validate")
    scores = []
    for name, options in (("full", []), ("half", ["--amp"])):
        out = tmp_path / f"{name}.json"
        checkpoint = tmp_path / "run" / "epoch_1.pth"
        tool("test.py", config, checkpoint, "--work-dir", tmp_path / name, "--out", out, *options)
        scores.append(json.loads(out.read_text())["masked_code/nll"])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=1e-2)
