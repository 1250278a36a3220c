"""Two processes on the CPU, forked or through the launch scripts: resuming, scores, and stand-ins for launchers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.shrinking import build_model
from seitpp.benchmarking.synthetic import make_codebook, make_images
from seitpp.evaluation.predictions import read_predictions
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans

# Starts the tasks that Slurm would, on this machine.
SRUN = """#!/usr/bin/env bash
for argument in "$@"; do
    [[ "$argument" == --ntasks=* ]] && export SLURM_NTASKS="${argument#*=}"
done
while [[ "$1" != python ]]; do shift; done
export SLURM_NODELIST='node[1]' SLURM_PROCID SLURM_LOCALID
for ((task = 0; task < SLURM_NTASKS; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=("$!")
done
status=0
for task in "${tasks[@]}"; do wait "$task" || status=$?; done
exit "$status"
"""
SCONTROL = '#!/usr/bin/env bash\n[[ "$*" == "show hostname node[1]" ]] && echo 127.0.0.1\n'


def keep_all(cfg: Config) -> None:
    """A rate at which a difference in any draw shows in the weights, and every checkpoint."""
    cfg.auto_scale_lr.enable = False
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1


def last_scalars(work_dir: Path, key: str) -> dict:
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [entry for entry in entries if key in entry][-1]


def join(children: list[BaseProcess]) -> None:
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * len(children)


def finish(process: subprocess.Popen) -> str:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-5000:]
    return output


class Run:
    """A config and a run of it on two processes, on stores; the 9 validation samples divide into nothing."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder, self.config, self.work_dir = folder, config, folder / "whole"


@pytest.fixture(scope="module")
def mtm_run(tmp_path_factory: pytest.TempPathFactory, tiny_in: Callable, fork: Callable, mtm_leaf: Path) -> Run:
    folder = tmp_path_factory.mktemp("dist")
    run = Run(folder, tiny_in(folder, mtm_leaf, late=keep_all, num_samples=8, epochs=3))
    join(fork("train.py", run.config, "--work-dir", run.work_dir, num_ranks=2))
    return run


def test_two_processes_share_the_steps(mtm_run: Run) -> None:
    meta = load_checkpoint_file(mtm_run.work_dir / "epoch_3.pth")["meta"]
    assert (meta["iter"], meta["world_size"], meta["samples_per_step"]) == (6, 2, 4)


@pytest.mark.slow
def test_script_trains_as_forked_processes_do(
    mtm_run: Run, spawn: Callable, assert_same_training: Callable, tmp_path: Path
) -> None:
    finish(spawn("bash", "tools/dist_train.sh", mtm_run.config, 2, "--work-dir", tmp_path))
    assert_same_training(mtm_run.work_dir / "epoch_3.pth", tmp_path / "epoch_3.pth")


@pytest.mark.slow
def test_two_processes_end_well_fifty_times(tiny: Callable, spawn: Callable, mtm_leaf: Path, tmp_path: Path) -> None:
    """A thread of gloo that outlives Python aborts a process in one run of a few."""
    config = tiny(mtm_leaf, late=keep_all, num_samples=8, epochs=1)
    for number in range(50):
        process = spawn("bash", "tools/dist_train.sh", config, 2, "--work-dir", tmp_path / f"run{number}")
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, f"run {number}: {output[-5000:]}"
        assert "terminate called" not in output, f"run {number}"


def test_two_processes_resume_bit_for_bit(mtm_run: Run, fork: Callable, assert_same_training: Callable) -> None:
    """The resumed run holds its data in memory, once in each process, which changes nothing."""
    resumed = mtm_run.folder / "resumed"
    line = ["--work-dir", resumed, "--resume", mtm_run.work_dir / "epoch_1.pth"]
    line += ["--cfg-options", "train_dataloader.dataset.device=cpu", "val_dataloader.dataset.device=cpu"]
    join(fork("train.py", mtm_run.config, *line, num_ranks=2))
    assert not (resumed / "epoch_1.pth").exists()
    assert_same_training(mtm_run.work_dir / "epoch_3.pth", resumed / "epoch_3.pth")


def test_masked_code_score_of_two_processes_is_that_of_one(
    mtm_run: Run, build_runner: Callable[[Config], Runner]
) -> None:
    logged = last_scalars(mtm_run.work_dir, "masked_code/nll")
    cfg = Config.fromfile(mtm_run.config)
    cfg.load_from = str(mtm_run.work_dir / "epoch_3.pth")
    cfg.val_dataloader.batch_size = 4
    runner = build_runner(cfg)
    assert len(runner.val_dataloader.dataset) == 9
    alone = runner.val()
    assert logged["masked_code/accuracy"] == alone["masked_code/accuracy"]
    assert logged["masked_code/nll"] == pytest.approx(alone["masked_code/nll"], rel=1e-6)


def test_resuming_on_one_process_is_refused(mtm_run: Run, tool: Callable, tmp_path: Path) -> None:
    line = ["--resume", mtm_run.work_dir / "epoch_1.pth", "--work-dir", tmp_path]
    with pytest.raises(ValueError, match=r"with 4 samples per step .* on 2 processes, this run has 2 \(1\) on 1"):
        tool("train.py", mtm_run.config, *line)


def test_resuming_on_one_process_with_the_same_step_is_said(mtm_run: Run, tool: Callable, tmp_path: Path) -> None:
    line = ["--resume", mtm_run.work_dir / "epoch_2.pth", "--work-dir", tmp_path]
    tool("train.py", mtm_run.config, *line, "--cfg-options", "train_dataloader.batch_size=4")
    (log,) = tmp_path.glob("*/*.log")
    assert "The world size changed from 2 to 1 processes since the checkpoint" in log.read_text()
    assert load_checkpoint_file(tmp_path / "epoch_3.pth")["meta"]["iter"] == 6


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Environment in which `srun` and `scontrol` are stand-ins."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "GPUS": "2", "MASTER_PORT": str(port)}


def few_classes(cfg: Config) -> None:
    """Few enough for a score between none and all."""
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 5


@pytest.mark.slow
def test_classifier_under_slurm_scores_as_one_process(
    tiny: Callable, spawn: Callable, slurm: dict, finetune_leaf: Path, tmp_path: Path, build_runner: Callable
) -> None:
    config = tiny(finetune_leaf, edit=few_classes, late=keep_all, num_samples=8, epochs=2)
    work_dir = tmp_path / "slurm"
    finish(spawn("bash", "tools/slurm_train.sh", "partition", "job", config, work_dir, **slurm))
    checkpoint = load_checkpoint_file(work_dir / "epoch_2.pth")
    assert (checkpoint["meta"]["iter"], checkpoint["meta"]["world_size"]) == (4, 2)
    logged = last_scalars(work_dir, "accuracy/top1")

    cfg = Config.fromfile(config)
    runner = build_runner(cfg)
    runner.model.load_state_dict(checkpoint["state_dict"])
    dataset = runner.val_dataloader.dataset
    assert len(dataset) == 9
    batch = dataset.__getitems__(range(9))
    with torch.no_grad():
        model = runner.model.eval()
        scores = model.head(model.extract_feat(batch["inputs"].long()[:, 2:30, 2:30]))
    top1 = (scores.argmax(dim=1) == batch["gt_label"]).float().mean().item()
    assert logged["accuracy/top1"] == pytest.approx(100 * top1, abs=1e-4)
    assert logged["accuracy/top5"] == 100
    cfg.load_from = str(work_dir / "epoch_2.pth")
    assert build_runner(cfg).test()["accuracy/top1"] == pytest.approx(100 * top1, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["dist_test.sh", "slurm_test.sh"])
def test_test_script_scores_as_one_process(
    mtm_run: Run, spawn: Callable, slurm: dict, tool: Callable, tmp_path: Path, script: str
) -> None:
    checkpoint = mtm_run.work_dir / "epoch_3.pth"
    lines = {
        "dist_test.sh": [mtm_run.config, checkpoint, 2],
        "slurm_test.sh": ["partition", "job", mtm_run.config, checkpoint],
    }
    options = ["--work-dir", tmp_path / "work", "--out"]
    finish(spawn("bash", f"tools/{script}", *lines[script], *options, tmp_path / "two.json", **slurm))
    tool("test.py", mtm_run.config, checkpoint, *options, tmp_path / "one.json")
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert two == pytest.approx(one, rel=1e-6)


def on_codes_of_patches(cfg: Config) -> None:
    """The codebook of a tokenizer that a store describes, which is the test data."""
    tokenizer = PatchKMeans(image_size=256, patch_size=8, codebook=make_codebook(391, 192, seed=1))
    store = Path(cfg.work_dir).parent / "patches"
    with StoreWriter(
        store, codebook_size=391, grid=(32, 32), tokenizer=tokenizer.describe(), codebook=tokenizer.codebook.numpy()
    ) as writer:
        writer.append(np.zeros((1, 32, 32), int))
    cfg.data_preprocessor.codebook = cfg.test_dataloader.dataset.store = str(store)


@pytest.mark.slow
def test_images_are_scored_by_two_processes_as_by_one(
    tiny: Callable, spawn: Callable, tool: Callable, finetune_leaf: Path, tmp_path: Path
) -> None:
    """7 images in batches of 2: two processes have 4 each, one of them a second time, which must not count."""
    config = tiny(finetune_leaf, edit=few_classes, late=on_codes_of_patches)
    torch.manual_seed(0)
    weights = build_model(Config.fromfile(config)).state_dict()
    torch.save({"state_dict": weights, "meta": {}}, tmp_path / "random.pth")
    for number in range(7):
        image = make_images(tmp_path / f"image-{number}", 1, 40, seed=number) / "0000.png"
        (tmp_path / "images" / str(number % 5)).mkdir(parents=True, exist_ok=True)
        image.rename(tmp_path / "images" / str(number % 5) / f"{number}.png")
    options = ["--images", tmp_path / "images", "--batch-size", 2, "--workers", 1, "--work-dir", tmp_path / "work"]
    outs = {
        name: ["--out", tmp_path / f"{name}.json", "--out-preds", tmp_path / f"{name}.npz"] for name in ("one", "two")
    }
    finish(spawn("bash", "tools/dist_test.sh", config, tmp_path / "random.pth", 2, *options, *outs["two"]))
    tool("test.py", config, tmp_path / "random.pth", *options, *outs["one"])
    alone, shared = (read_predictions(tmp_path / name) for name in ("one.npz", "two.npz"))
    assert (shared.indices.tolist(), shared.names) == (list(range(7)), alone.names)
    np.testing.assert_array_equal(shared.labels, alone.labels)
    np.testing.assert_allclose(shared.scores, alone.scores, rtol=1e-5)
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one == two
    hits = one["accuracy/top1"] * 7 / 100
    assert 0 < hits < 7 and hits == pytest.approx(round(hits), abs=1e-5)


@pytest.mark.slow
def test_two_killed_processes_resume_bit_for_bit(
    tiny: Callable, spawn: Callable, assert_same_training: Callable, mtm_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(mtm_leaf, late=keep_all, num_samples=8, epochs=12)
    finish(spawn("bash", "tools/dist_train.sh", config, 2, "--work-dir", tmp_path / "whole"))
    killed = tmp_path / "killed"
    process = spawn("bash", "tools/dist_train.sh", config, 2, "--work-dir", killed)
    deadline = time.monotonic() + 120
    while not (killed / "last_checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2  # the launcher is this process itself
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "epoch_12.pth").exists()
    finish(spawn("bash", "tools/dist_train.sh", config, 2, "--work-dir", killed, "--resume"))
    assert_same_training(tmp_path / "whole" / "epoch_12.pth", killed / "epoch_12.pth")
