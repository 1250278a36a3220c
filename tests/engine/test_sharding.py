"""Sharded training (FSDP): the weights, checkpoints and resumed runs of training without it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook

from seitpp.engine.sharding import BlockFSDPStrategy, check_sharding
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.registry import MODELS

LARGE = "mtm_vit-large-p16_8xb512-400e_in1k-tokens.py"
HUGE = "mtm_vit-huge-p16_8xb512-400e_in1k-tokens.py"


def keep_all(cfg: Config) -> None:
    """A rate at which a difference shows in the weights, and every checkpoint."""
    cfg.auto_scale_lr.enable = False
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1


@pytest.mark.slow
def test_sharded_processes_train_and_resume_as_plain_ones(
    tiny: Callable, spawn: Callable, repository: Path, tmp_path: Path
) -> None:
    leaf = next((repository / "configs").rglob(LARGE))
    sharded = tiny(leaf, "sharded", late=keep_all, num_samples=8)

    def without_strategy(cfg: Config) -> None:
        keep_all(cfg)
        cfg.pop("runner_type"), cfg.pop("strategy")

    plain = tiny(leaf, "plain", late=without_strategy, num_samples=8)

    def train(config: Path, name: str, *options: object) -> dict[int, dict]:
        process = spawn("bash", "tools/dist_train.sh", config, 2, "--work-dir", tmp_path / name, *options)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output[-5000:]
        files = (tmp_path / name).glob("epoch_*.pth")
        return {int(path.stem.removeprefix("epoch_")): load_checkpoint_file(path) for path in files}

    first, second = train(sharded, "sharded"), train(plain, "plain")
    runs = [
        train(sharded, "sharded-again", "--resume", tmp_path / "plain" / "epoch_1.pth"),
        train(plain, "plain-again", "--resume", tmp_path / "sharded" / "epoch_1.pth"),
    ]
    for run in (first, *runs):
        last, expected = run[2], second[2]
        for part in ("state_dict", "optimizer"):
            torch.testing.assert_close(last[part], expected[part], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("launcher", "stays"), [("none", False), ("pytorch", True)])
def test_one_process_shards_nothing(launcher: str, stays: bool, repository: Path) -> None:
    config = Config.fromfile(next((repository / "configs").rglob(LARGE)))
    config.launcher = launcher
    check_sharding(config)
    assert ("strategy" in config, config.get("runner_type")) == (stays, "FlexibleRunner" if stays else None)


@pytest.mark.parametrize("kind", ["EMAHook", EMAHook], ids=["name", "class"])
def test_an_average_of_sharded_weights_is_refused(repository: Path, kind: object) -> None:
    config = Config.fromfile(next((repository / "configs").rglob(LARGE)))
    config.launcher, config.custom_hooks = "pytorch", ["no hook", {"type": kind}]
    with pytest.raises(ValueError, match=r"averages weights \(EMAHook\) and shards them"):
        check_sharding(config)


def test_clipping_is_refused() -> None:
    strategy = BlockFSDPStrategy.__new__(BlockFSDPStrategy)
    strategy._prepared = False
    with pytest.raises(ValueError, match=r"clip_grad is \{'max_norm': 1.0\}, .*each process's share"):
        strategy.prepare({}, optim_wrapper={"clip_grad": {"max_norm": 1.0}})


@pytest.mark.parametrize(("leaf", "millions"), [(LARGE, 302.6), (HUGE, 630.1)])
def test_sizes_of_the_encoders(leaf: str, millions: float, repository: Path) -> None:
    """Those of the ViT paper's Table 1: 24 and 32 blocks of width 1024 and 1280, 4 times that in the MLP, 16 heads."""
    config = Config.fromfile(next((repository / "configs").rglob(leaf)))
    with torch.device("meta"):
        blocks = MODELS.build(config.model.backbone).layers
    assert sum(value.numel() for value in blocks.parameters()) / 1e6 == pytest.approx(millions, abs=0.5)
    assert {block.attn.num_heads for block in blocks} == {16}
