"""Training a tokenizer through the tools: resuming with a discriminator, scoring, two processes, what comes out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.registry import TOKENIZERS

SMALL_RESNET = dict(
    weight=0.1,
    backbone=dict(type="mmpretrain.ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1)),
    allow_random=True,
)


def use_everything(cfg: Config) -> None:
    """Perceptual and adversarial terms with a small network, adaptive weight, moving averages, revival."""
    cfg.model.perceptual = SMALL_RESNET
    cfg.model.adversarial.last_layer = "decoder.to_pixels.weight"
    cfg.model.adversarial.start_step = 3
    cfg.model.adversarial.discriminator.norm_cfg = dict(type="GN", num_groups=4)
    cfg.model.codebook = dict(rule="ema", decay=0.5, revive_below=0.9, revive_interval=2)
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    cfg.auto_scale_lr.enable = False
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1


@pytest.fixture(scope="session")
def tokenizer_leaf(repository: Path) -> Path:
    return repository / "configs" / "tokenizers" / "vitvqgan_small-p8-k8192_8xb32-100e_in1k-256px.py"


@pytest.mark.parametrize("options", [[], pytest.param(["--amp"], marks=pytest.mark.slow)], ids=["float32", "bfloat16"])
def test_resumed_run_is_bit_identical(
    tiny: Callable, tool: Callable, tokenizer_leaf: Path, tmp_path: Path, assert_same_training: Callable, options: list
) -> None:
    config = tiny(tokenizer_leaf, edit=use_everything, epochs=3)
    tool("train.py", config, "--work-dir", tmp_path / "whole", *options)
    line = ["--work-dir", tmp_path / "resumed", "--resume", tmp_path / "whole" / "epoch_1.pth"]
    tool("train.py", config, *line, *options)
    assert not (tmp_path / "resumed" / "epoch_1.pth").exists()
    assert_same_training(tmp_path / "whole" / "epoch_3.pth", tmp_path / "resumed" / "epoch_3.pth")
    first, last = (load_checkpoint_file(tmp_path / "whole" / f"epoch_{epoch}.pth") for epoch in (1, 3))
    assert set(last["optimizer"]) == {"generator", "discriminator"}
    weight = "adversarial.discriminator.layers.0.weight"
    assert not torch.equal(first["state_dict"][weight], last["state_dict"][weight])
    assert not any("perceptual" in name for name in last["state_dict"])


def test_trained_tokenizer_is_used_and_scored(
    tiny: Callable, tool: Callable, tokenizer_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(tokenizer_leaf, edit=use_everything, epochs=1)
    tool("train.py", config)
    checkpoint = tmp_path / "work_dir" / "epoch_1.pth"
    out = tmp_path / "score.json"
    assert tool("test.py", config, checkpoint, "--work-dir", tmp_path / "test", "--out", out) == 0
    score = json.loads(out.read_text())
    assert set(score) == {
        f"reconstruction/{name}" for name in ("psnr", "ssim", "mse", "codebook_use", "code_perplexity")
    }
    for folder, name in ((tmp_path / "work_dir", "epoch_1.png"), (tmp_path / "test", "test.png")):
        with Image.open(folder / "reconstructions" / name) as picture:
            assert picture.mode == "RGB"

    cfg = Config.fromfile(config)
    tokenizer = TOKENIZERS.build(dict(cfg.model.tokenizer, checkpoint=str(checkpoint)))
    weights = load_checkpoint_file(checkpoint)["state_dict"]
    assert all(torch.equal(value, weights[f"tokenizer.{name}"]) for name, value in tokenizer.state_dict().items())


def two_batches_per_step(cfg: Config) -> None:
    use_everything(cfg)
    cfg.optim_wrapper.accumulative_counts = 2


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")  # which counts batches
def test_codebook_follows_optimizer_steps(tiny: Callable, tool: Callable, tokenizer_leaf: Path, tmp_path: Path) -> None:
    tool("train.py", tiny(tokenizer_leaf, edit=two_batches_per_step, epochs=1))
    checkpoint = load_checkpoint_file(tmp_path / "work_dir" / "epoch_1.pth")
    moments = checkpoint["optimizer"]["generator"]["state"].values()
    (steps,) = {int(one["step"]) for one in moments}
    assert 0 < steps == checkpoint["state_dict"]["num_steps"] == checkpoint["meta"]["iter"] // 2


def two_loader_processes(cfg: Config) -> None:
    """Flips are then drawn in them."""
    cfg.train_dataloader.num_workers = 2


@pytest.mark.slow
def test_resumed_run_with_loader_processes_is_bit_identical(
    tiny: Callable, tool: Callable, tokenizer_leaf: Path, tmp_path: Path, assert_same_training: Callable
) -> None:
    config = tiny(tokenizer_leaf, edit=use_everything, late=two_loader_processes, epochs=3, num_samples=8)
    tool("train.py", config, "--work-dir", tmp_path / "whole")
    line = ["--work-dir", tmp_path / "resumed", "--resume", tmp_path / "whole" / "epoch_2.pth"]
    tool("train.py", config, *line)
    assert_same_training(tmp_path / "whole" / "epoch_3.pth", tmp_path / "resumed" / "epoch_3.pth")


def without_draws(cfg: Config) -> None:
    """Nothing that ranks draw by themselves: no flips, no codes from a batch."""
    use_everything(cfg)
    cfg.model.codebook = dict(rule="ema", decay=0.5, init=None, revive_below=0.0)
    for transforms in (cfg.train_pipeline, cfg.train_dataloader.dataset.pipeline):
        for transform in transforms:
            if transform["type"].endswith("RandomFlip"):
                transform["prob"] = 0.0


def finish(process: object) -> None:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-5000:]


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit_and_score_as_one(
    tiny: Callable,
    tool: Callable,
    spawn: Callable,
    tokenizer_leaf: Path,
    tmp_path: Path,
    assert_same_training: Callable,
) -> None:
    config = tiny(tokenizer_leaf, edit=use_everything, epochs=3, num_samples=8)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    finish(spawn("bash", "tools/dist_train.sh", config, 2, "--work-dir", whole))
    line = ["--work-dir", resumed, "--resume", whole / "epoch_1.pth"]
    finish(spawn("bash", "tools/dist_train.sh", config, 2, *line))
    assert_same_training(whole / "epoch_3.pth", resumed / "epoch_3.pth")

    # Nine validation images, which two processes do not share evenly.
    finish(spawn("bash", "tools/dist_test.sh", config, whole / "epoch_3.pth", 2, "--out", tmp_path / "two.json"))
    tool("test.py", config, whole / "epoch_3.pth", "--out", tmp_path / "one.json")
    scores = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one_with_their_batches_together(
    tiny: Callable, tool: Callable, spawn: Callable, tokenizer_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(tokenizer_leaf, edit=without_draws, epochs=2, num_samples=8, batch_size=4)
    tool("train.py", config, "--work-dir", tmp_path / "one")
    line = ["--work-dir", tmp_path / "two", "--cfg-options", "train_dataloader.batch_size=2"]
    finish(spawn("bash", "tools/dist_train.sh", config, 2, *line))
    one, two = (load_checkpoint_file(tmp_path / name / "epoch_2.pth") for name in ("one", "two"))
    assert one["meta"]["samples_per_step"] == two["meta"]["samples_per_step"] == 4
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-3, atol=1e-5, msg=name)
