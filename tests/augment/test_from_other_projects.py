"""The configs of docs/openmmlab.md, in a folder of their own."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seitpp.benchmarking.synthetic import make_codebook, make_store, make_tokens
from seitpp.models import TokenAdapt
from seitpp.storage import StoreWriter

K, D, CLASSES, WIDTH = 391, 32, 4, 16
ARCH = dict(_delete_=True, embed_dims=WIDTH, num_layers=2, num_heads=2, feedforward_channels=32)
SMALL_ADAPT = dict(dims=WIDTH, depth=1, num_heads=2, head_dims=8, mlp_dims=32)
DOC = "openmmlab.md"


@pytest.fixture(scope="module")
def blocks(repository: Path) -> list[str]:
    """The Python blocks of the page, in order."""
    text = (repository / "docs" / DOC).read_text()
    section = text.partition("## Augmentations\n")[2]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def block(blocks: list[str]) -> Callable[[str], str]:
    """The one block of the page that holds a text."""

    def find(text: str) -> str:
        (found,) = [block for block in blocks if text in block]
        return found

    return find


@pytest.fixture
def script(block: Callable, tmp_path: Path) -> Callable[..., Path]:
    """Writes a config of the page and the page's way to train it; `small` are smaller sizes."""

    def write(name: str, scope: str, small: dict) -> Path:
        (tmp_path / name).write_text(block(f'default_scope = "{scope}"'))
        text = block("Runner.from_cfg").replace("my_classifier.py", name)
        config = f'Config.fromfile("{name}")'
        assert config in text
        smaller = f"cfg = {config}\ncfg.merge_from_dict({small!r})\n"
        text = text.replace(config, "cfg").replace("Runner.from_cfg", smaller + "Runner.from_cfg")
        (tmp_path / "run.py").write_text(text)
        return tmp_path / "run.py"

    return write


def save_token_adapt(path: Path, grid: int, out_grid: int) -> None:
    torch.save({"state_dict": TokenAdapt(K, D, grid, out_grid, **SMALL_ADAPT).state_dict()}, path)


def logged(folder: Path) -> list[dict]:
    """What the run logged, step by step."""
    (path,) = folder.glob("work_dir/*/vis_data/scalars.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_augmentation_alone(block: Callable) -> None:
    names: dict = {}
    exec(block("maps = color"), names)
    assert names["maps"].shape == (8, 32, 28, 28)


@pytest.fixture
def classifier(script: Callable, repository: Path, tmp_path: Path) -> Path:
    """The page's classifier with its data, ready to train."""
    make_store(tmp_path / "data" / "train", num_samples=12, num_classes=CLASSES)
    make_store(tmp_path / "data" / "val", num_samples=5, num_classes=CLASSES, seed=1)
    tool = runpy.run_path(str(repository / "tools" / "build_synonyms.py"))
    tool["main"]([str(tmp_path / "data" / "train"), str(tmp_path / "data" / "synonyms.json")])
    save_token_adapt(tmp_path / "data" / "tokenadapt.pth", 32, 28)
    small = {
        "model.backbone.arch": ARCH,
        "model.head": dict(num_classes=CLASSES, in_channels=WIDTH),
        "data_preprocessor.num_classes": CLASSES,
        "data_preprocessor.augments.1.first.0.token_adapt": SMALL_ADAPT,
        "train_dataloader.batch_size": 5,
        "train_cfg.max_epochs": 1,
        "default_hooks": dict(logger=dict(type="LoggerHook", interval=1)),
        "work_dir": "work_dir",
    }
    return script("my_classifier.py", "mmpretrain", small)


def check_classifier_run(folder: Path) -> None:
    *steps, validation = logged(folder)
    assert len(steps) == 2 and all(np.isfinite(step["loss"]) for step in steps)
    assert 0 <= validation["accuracy/top1"] <= 100


def test_mmpretrain_config(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unformatted_configs: None
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(classifier))
    check_classifier_run(tmp_path)


@pytest.mark.slow  # nothing but the page's imports has run in it
def test_mmpretrain_config_in_a_process_of_its_own(classifier: Path, spawn: Callable, tmp_path: Path) -> None:
    process = spawn("bash", "-c", f"cd '{tmp_path}' && exec '{sys.executable}' {classifier.name}")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    check_classifier_run(tmp_path)


def write_seg_store(path: Path, num_samples: int, grid: int, label_size: int) -> None:
    """A store of codes with random label maps beside it."""
    tokens, _ = make_tokens(num_samples, (grid, grid), K, 1)
    options = dict(codebook_size=K, grid=(grid, grid), tokenizer={"name": "synthetic"}, codebook=make_codebook(K, D))
    classes = [f"class-{number}" for number in range(CLASSES)]
    with StoreWriter(path, **options, label_kind="segmentation", classes=classes) as writer:
        writer.append(tokens)
    (path / "labels").mkdir()
    rng = np.random.default_rng(0)
    for place in range(num_samples):
        labels = rng.integers(CLASSES, size=(label_size, label_size), dtype=np.uint8)
        cv2.imwrite(str(path / "labels" / f"{place:08d}.png"), labels)


def test_mmseg_config(
    script: Callable, block: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unformatted_configs: None
) -> None:
    (tmp_path / "token_maps.py").write_text(block("class TokenMaps"))
    for name, num_samples in (("seg-train", 4), ("seg-val", 2)):
        write_seg_store(tmp_path / "data" / name, num_samples, grid=16, label_size=64)
    save_token_adapt(tmp_path / "data" / "tokenadapt.pth", 16, 16)
    small = {
        "model.backbone": dict(arch=ARCH, img_size=16, out_indices=[1]),
        "model.decode_head": dict(num_classes=CLASSES, in_channels=WIDTH, channels=WIDTH),
        "data_preprocessor.augments.0.token_adapt": dict(SMALL_ADAPT, out_grid=16),
        "data_preprocessor.augments.0.augments.2.size": 32,
        "train_dataloader.batch_size": 3,
        "train_cfg": dict(max_iters=2, val_interval=2),
        "default_hooks": dict(logger=dict(type="LoggerHook", interval=1)),
        "work_dir": "work_dir",
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path(str(script("my_segmentor.py", "mmseg", small)))
    *steps, validation = logged(tmp_path)
    assert len(steps) == 2 and all(np.isfinite(step["loss"]) for step in steps)
    assert 0 <= validation["seg/mIoU"] <= 100
