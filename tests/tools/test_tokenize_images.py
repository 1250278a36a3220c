"""`tools/tokenize_images.py`: from the command line to a store, in one process and under `torchrun`."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tools import tool_main
from seitpp.io.command_line import run_tool
from seitpp.storage import StoreReader
from seitpp.tokenizers import PatchKMeans

TOOL = "tokenize_images.py"
SMALL = ["tokenizer.image_size=16", "tokenizer.fit.codebook_size=8", "tokenizer.fit.num_images=6"]


@pytest.fixture
def tool(tool: Callable[..., int]) -> Callable[..., int]:
    """Runs the tool to its end, for the exit status."""
    return lambda *line: run_tool(lambda: tool(*line))


@pytest.fixture
def config(repository: Path) -> Path:
    return repository / "configs" / "tokenizers" / "patch_kmeans_8px_k512.py"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 4)


def write_images(root: Path, per_class: int) -> Path:
    """Two classes of random images, and one file that is no image."""
    numbers = np.random.default_rng(0)
    for name in ("ant", "große Biene"):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            Image.fromarray(numbers.integers(0, 256, (16, 24, 3), np.uint8)).save(root / name / f"{number}.png")
    (root / "ant" / "0 damaged.jpg").write_text("no image")
    return root


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_to_a_store(
    tool: Callable, config: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "store"
    line = [TOOL, config, images, out, "--workers", "0", "--samples-per-shard", "3", "--batch-size", "2"]
    assert tool(*line, "--cfg-options", *SMALL) == 0
    printed = capsys.readouterr()
    assert f"{out}: 8 images in 3 shards" in printed.out
    assert re.search(r"num unreadable +│ 1 ", printed.out) and re.search(r"codes reproduced +│ 100.00% ", printed.out)
    assert f"Look at {out}/report/reconstructions.png" in printed.out
    assert f"1 images were left out, with the reasons: {out}/report/unreadable.txt" in printed.err
    reader = StoreReader(out)
    assert len(reader) == 8 and reader.classes == ["ant", "große Biene"] and not reader.verify()

    before = files_of(out)
    assert tool(*line, "--cfg-options", *SMALL) == 0
    printed = capsys.readouterr()
    assert f"{out} is complete already; nothing was done" in printed.out
    assert (
        f"1 images were left out, with the reasons: {out}/report/unreadable.txt (ant/0 damaged.jpg). Mend"
        in printed.err
    )
    assert files_of(out) == before
    assert tool(*line, "--on-error", "fail", "--cfg-options", *SMALL) == 1
    assert "is complete, but 1 images were left out of it" in capsys.readouterr().err

    shutil.copy(images / "ant" / "1.png", images / "ant" / "0 damaged.jpg")
    assert tool(*line, "--retry-left-out", "--cfg-options", *SMALL) == 0
    assert f"{out}: 9 images in 3 shards" in capsys.readouterr().out
    assert len(StoreReader(out)) == 9 and not StoreReader(out).verify()


def test_splits_in_one_run_and_a_store_as_tokenizer(
    tool: Callable, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for split, per_class in (("train", 4), ("val", 2)):
        write_images(tmp_path / "images" / split, per_class)
    out = tmp_path / "out"
    line = [TOOL, config, tmp_path / "images", out, "--workers", "0", "--split", "train", "val"]
    assert tool(*line, "--cfg-options", *SMALL) == 0
    printed = capsys.readouterr().out
    assert "The tokenizer is fitted to train and used for val as it is" in printed
    assert f"{out}/train: 8 images in 1 shards" in printed and f"{out}/val: 4 images in 1 shards" in printed

    again = tmp_path / "again"
    assert tool_main(TOOL)([out / "train", tmp_path / "images", again, "--split", "val", "--workers", "0"]) == 0
    assert files_of(again) == files_of(out / "val")


def test_relative_paths(
    tool: Callable, config: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tool(TOOL, config, "images", "new/store", "--workers", "0", "--cfg-options", *SMALL) == 0
    assert len(StoreReader(tmp_path / "new" / "store")) == 8


def test_poor_round_trip_is_warned_of(
    tool: Callable,
    config: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = [TOOL, config, images, tmp_path / "store", "--workers", "0"]
    assert tool(*line, "--min-psnr", "60", "--cfg-options", *SMALL) == 0
    assert re.search(
        r"warning: the round trip reaches [\d.]+ dB, below 60.0; is this the right", capsys.readouterr().err
    )
    shutil.rmtree(tmp_path / "store")
    assert tool(*line, "--min-psnr", "1", "--cfg-options", *SMALL) == 0
    assert "round trip" not in capsys.readouterr().err
    shutil.rmtree(tmp_path / "store")
    monkeypatch.setattr(PatchKMeans, "advice", "take smaller patches")
    assert tool(*line, "--min-psnr", "60", "--cfg-options", *SMALL) == 0
    assert re.search(r"reaches [\d.]+ dB, below 60.0; take smaller patches", capsys.readouterr().err)


def test_class_with_one_image_is_warned_of(
    tool: Callable, config: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (images / "wasp").mkdir()
    shutil.copy(images / "ant" / "1.png", images / "wasp")
    assert tool(TOOL, config, images, tmp_path / "store", "--workers", "0", "--cfg-options", *SMALL) == 0
    assert "warning: classes with a single image: 1, such as 'wasp'" in capsys.readouterr().err


def test_unreadable_image_ends_the_run_if_asked(
    tool: Callable, config: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = [TOOL, config, images, tmp_path / "store", "--workers", "0", "--on-error", "fail"]
    assert tool(*line, "--cfg-options", *SMALL) == 1
    assert "error: ant/0 damaged.jpg cannot be read: it is of no known image format" in capsys.readouterr().err


def test_interrupt_from_the_keyboard_is_one_line(
    tool: Callable,
    config: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seitpp.ingest.tokenize", interrupt)
    line = [TOOL, config, images, tmp_path / "store", "--workers", "0", "--cfg-options", *SMALL]
    assert tool(*line) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; run the same command again to continue"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("empty", [], "empty holds no images: no files"),
        ("nothing", [], "nothing does not exist; expected images: a folder, a list, tar files or a config"),
        ("images", ["--split", "train"], "--split train names a sub-folder of"),
        ("images", ["--device", "tpu"], "device 'tpu' is none; expected cpu, cuda or cuda:N"),
        ("images", ["--label-size", "4", "4"], "images has no label maps; leave out --label-size"),
        ("images", ["--label-size", "4", "-1"], "label_size is (4, -1), expected two positive numbers"),
        ("images", ["--batch-size", "0"], "batch_size is 0, expected a positive number"),
        ("images", ["--annotations", "maps"], "holds no images"),
        ("images", ["--classes", "missing.txt"], "missing.txt: No such file or directory"),
        ("tiny", [], "none of the 1 images to fit the tokenizer to could be read"),
    ],
)
def test_wrong_input_is_one_line(
    tool: Callable,
    config: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    source: str,
    options: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny").mkdir()
    Image.new("RGB", (7, 7)).save(tmp_path / "tiny" / "a.png")
    if "--annotations" in options:
        options = ["--annotations", str(tmp_path / "empty")]
        message = "images in "
    assert tool(TOOL, config, tmp_path / source, tmp_path / "out", "--workers", "0", *options) == 1
    error = capsys.readouterr().err
    assert ": error: " in error and message in error and error.count("\n") == 1


def test_config_without_a_tokenizer_is_refused(
    tool: Callable, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "config.py").write_text("model = dict()\n")
    assert tool(TOOL, tmp_path / "config.py", images, tmp_path / "out") == 1
    assert "config.py has no 'tokenizer'; expected a file of configs/tokenizers/" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_missing_gpu_is_reported(
    tool: Callable,
    config: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tool(TOOL, config, images, tmp_path / "out", "--device", device) == 1
    assert f"error: device {device!r}: no GPU is available here; use cpu" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    if device == "cuda:1":
        assert tool(TOOL, config, images, tmp_path / "out", "--device", device) == 1
        assert "error: device 'cuda:1': there are 1 GPUs here, counted from 0" in capsys.readouterr().err


def test_executor_that_is_not_installed_is_reported(
    tool: Callable,
    config: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    line = [TOOL, config, images, tmp_path / "out", "--workers", "0", "--executor", "ray", "--cfg-options", *SMALL]
    assert tool(*line) == 1
    assert 'error: --executor ray needs Ray Data: pip install "ray[data]"' in capsys.readouterr().err


def command(world_size: int, repository: Path, config: Path, images: Path, out: Path) -> list[object]:
    tool = repository / "tools" / TOOL
    start = [sys.executable, tool]
    if world_size > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world_size}", tool]
    options = ["--workers", "1", "--samples-per-shard", "4", "--batch-size", "2", "--cfg-options", *SMALL]
    return [*start, config, images, out, *options]


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
def test_ten_kills_do_not_show(
    spawn: Callable[..., subprocess.Popen], repository: Path, config: Path, tmp_path: Path, world_size: int
) -> None:
    images = write_images(tmp_path / "images", 200)

    def start(world_size: int, out: str) -> subprocess.Popen:
        line = command(world_size, repository, config, images, tmp_path / out)
        return spawn(*line)

    whole = start(1, "whole")
    text = whole.communicate(timeout=300)[0]
    assert whole.returncode == 0, text
    begun = time.monotonic()
    timed = start(world_size, "timed")
    text = timed.communicate(timeout=300)[0]
    assert timed.returncode == 0, text
    seconds = time.monotonic() - begun
    expected = files_of(tmp_path / "whole")
    assert files_of(tmp_path / "timed") == expected

    moments, kills, stores = random.Random(world_size), 0, 0
    while kills < 10 or not stores:
        process = start(world_size, "killed")
        try:
            text = process.communicate(timeout=None if kills >= 10 else moments.uniform(0.3, 1) * seconds)[0]
        except subprocess.TimeoutExpired:
            kill_tree(process)
            kills += 1
            continue
        assert process.returncode == 0, text
        assert files_of(tmp_path / "killed") == expected
        shutil.rmtree(tmp_path / "killed")
        stores += 1


def kill_tree(process: subprocess.Popen) -> None:
    """SIGKILL for a process and all below it, at once."""
    below = [process.pid]
    for pid in below:
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
        below += [int(child) for child in listed.stdout.split()]
    for pid in below:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.slow
def test_interrupt_leaves_no_traceback(
    spawn: Callable[..., subprocess.Popen], repository: Path, config: Path, tmp_path: Path
) -> None:
    images = write_images(tmp_path / "images", 3000)
    process = spawn("setsid", *command(1, repository, config, images, tmp_path / "out"))  # leads a process group
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("shard-0000[3-9].bin")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to its loader workers too
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 130, text
    assert "Traceback" not in text and "interrupted; run the same command again to continue" in text
    assert len(StoreReader(tmp_path / "out", allow_incomplete=True)) >= 16
