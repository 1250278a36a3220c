"""tools/train_on_images.py from a folder to a page, through a kill, and its config by hand."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tools import tool_main
from seitpp.io.checkpoint import load_checkpoint_file


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of stripes, 40 images each, 12 x 12 pixels."""
    rng = np.random.default_rng(0)
    for name, axis in (("across", 0), ("down", 1)):
        (tmp_path / "stripes" / name).mkdir(parents=True)
        for index in range(40):
            line = np.where((np.arange(12) + rng.integers(6)) % 6 < 3, 200, 50)
            pixels = np.broadcast_to(line[:, None] if axis == 0 else line, (12, 12)) + rng.integers(0, 55, (12, 12))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "stripes" / name / f"{index}.png")
    return tmp_path / "stripes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "smal"], "--model is 'smal', expected one of tiny, small, base; did you mean small?"),
        (["--method", "mtn"], "--method is 'mtn', expected one of seit, seitpp, mtm; did you mean mtm?"),
        (["--image-size", "13"], "--image-size 13 does not divide into patches of 2 x 2 pixels; use 12 or 14"),
        (["--tokenizer", "nothing.py"], "--tokenizer nothing.py does not exist"),
    ],
)
def test_wrong_options_end_before_anything_is_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert tool_main("train_on_images.py")([pictures, tmp_path / "out", *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.slow
def test_a_killed_run_continues_and_its_config_gives_the_same_by_hand(
    pictures: Path, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        str(repository / "tools" / "train_on_images.py"),
        str(pictures),
        str(out),
        "--minutes",
        "2",
    ]
    first = subprocess.Popen(command, cwd=repository, stdout=subprocess.DEVNULL)
    while not list((out / "train").glob("epoch_*.pth")):
        assert first.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / "tokens").rglob("*.json")}
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.count("done before") == 2  # both stores
    assert before == {path: path.stat().st_mtime_ns for path in (out / "tokens").rglob("*.json")}
    assert "resumed" in (out / "logs" / "3-train.log").read_text().lower()
    assert "validation images are classified right" in (out / "report.html").read_text()
    plan = json.loads((out / "plan.json").read_text())
    (checkpoint,) = (step["output"] for step in plan["steps"] if step["name"] == "train")
    by_hand = [out / "configs" / "train.py", "--work-dir", tmp_path / "mine"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    words = [sys.executable, repository / "tools" / "train.py", *by_hand]
    subprocess.run(list(map(str, words)), cwd=repository, env=environment, capture_output=True, check=True)
    ours, theirs = (
        load_checkpoint_file(path)["state_dict"] for path in (tmp_path / "mine" / Path(checkpoint).name, checkpoint)
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    again = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert again.stdout.count("done before") == len(plan["steps"])
