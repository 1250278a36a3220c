"""Schedules before a run, against the rates that runs log, and by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from helpers.shrinking import shrink
from helpers.tools import tool_main
from seitpp.engine.config_changes import use_whole_steps
from seitpp.engine.schedule_preview import preview_schedule


def logged_rates(work_dir: Path) -> list[float]:
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["lr"] for line in lines if "iter" in line]


def test_rates_are_those_that_a_run_logs(finetune_leaf: Path, tmp_path: Path, build_runner: Callable) -> None:
    cfg = shrink(Config.fromfile(finetune_leaf), tmp_path, num_samples=6, epochs=3)
    cfg.auto_scale_lr.enable = False
    found = preview_schedule(cfg)
    assert found.epoch_length == 3
    runner = build_runner(cfg)
    runner.train()
    groups = runner.optim_wrapper.optimizer.param_groups
    assert sum(group.num_tensors for group in found.groups) == sum(len(group["params"]) for group in groups)
    assert len({group["lr"] for group in groups}) > 1  # layer decay
    np.testing.assert_allclose(found.groups[0].values["lr"], logged_rates(tmp_path / "work_dir"), rtol=1e-12)


SCHEDULED = {
    "default_scope": "mmpretrain",
    "model": {
        "type": "ImageClassifier",
        "backbone": {"type": "LeNet5", "num_classes": 2},
        "head": {"type": "ClsHead"},
    },
    "train_dataloader": {"batch_size": 4, "dataset": {"type": "CustomDataset", "data_prefix": "/nowhere"}},
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1.0, "momentum": 0.9, "weight_decay": 0.1}},
    "train_cfg": {"by_epoch": True, "max_epochs": 2},
    "param_scheduler": [
        {"type": "MultiStepLR", "milestones": [1], "gamma": 0.5},
        {"type": "LinearMomentum", "by_epoch": False, "start_factor": 0.5, "begin": 0, "end": 2},
    ],
}


def test_schedules_by_epoch_and_of_momentum() -> None:
    (group,) = preview_schedule(Config(SCHEDULED), dataset_size=9).groups
    assert group.values["lr"].tolist() == [1.0] * 3 + [0.5] * 3  # 9 samples are 3 batches of 4
    assert group.values["momentum"] == pytest.approx([0.45] + [0.9] * 5)  # mmengine's ramp ends one step early
    assert set(group.values["weight_decay"]) == {0.1}


def test_processes_and_accumulation_shorten_an_epoch() -> None:
    cfg = Config(SCHEDULED)
    assert preview_schedule(cfg, dataset_size=9, processes=2).epoch_length == 2  # 5 samples on each
    cfg.train_dataloader.sampler = {"type": "DefaultSampler"}
    cfg.param_scheduler = None
    cfg.optim_wrapper.accumulative_counts = 2
    use_whole_steps(cfg, 1)
    assert preview_schedule(cfg, dataset_size=31).epoch_length == 6  # 3 steps of 2 batches of 4


def test_a_run_by_iteration_needs_no_data() -> None:
    cfg = Config(SCHEDULED)
    cfg.train_cfg = {"by_epoch": False, "max_iters": 5}
    cfg.param_scheduler = {"type": "PolyLR", "by_epoch": False, "eta_min": 0.0, "end": 5}
    found = preview_schedule(cfg)
    assert found.epoch_length is None
    assert found.groups[0].values["lr"] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


def test_missing_data_and_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the training data cannot be counted .*; give --dataset-size"):
        preview_schedule(Config(SCHEDULED))
    cfg = Config(SCHEDULED)
    cfg.train_dataloader.drop_last = True
    with pytest.raises(ValueError, match="3 training samples do not fill one batch of 4 on 1 processes"):
        preview_schedule(cfg, dataset_size=3)


def test_tool_draws_what_changes(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tool, picture = tool_main("visualization/vis_scheduler.py"), tmp_path / "rates.svg"
    config = repository / "configs/seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py"
    assert tool([config, "--dataset-size", 640, "--save-path", picture]) == 0
    printed = capsys.readouterr().out
    assert "AdamW, 600 iterations, 60 epochs of 10" in printed and "0.004" in printed
    assert picture.read_text().startswith("<?xml")
