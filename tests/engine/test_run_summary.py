"""What a log opens with, on the console and in the file, and that mmengine's own opening follows in the file alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from helpers.shrinking import shrink
from seitpp.engine.run_summary import open_with_summary, run_summary
from seitpp.storage import StoreReader


def opening(text: str) -> list[list[str]]:
    """The lines of a summary, split into name and text."""
    lines = text.splitlines()
    assert lines[0].endswith("this run")
    return [line.split(maxsplit=1) for line in lines[1:11]]


def test_a_training_log_opens_with_ten_lines(
    finetune_leaf: Path, tmp_path: Path, build_runner: Callable, capsys: pytest.CaptureFixture
) -> None:
    cfg = shrink(Config.fromfile(finetune_leaf), tmp_path, epochs=1)
    runner = build_runner(cfg)
    runner.train()
    console = capsys.readouterr().out
    (path,) = (tmp_path / "work_dir").glob("*/*.log")
    in_file = path.read_text()
    named = [line[0] for line in opening(in_file)]
    assert named[:6] == ["data", "tokenizer", "bytes", "model", "parameters", "steps"]
    assert named[6:] == ["batch", "learning", "augmentations", "work"]
    assert in_file.index("System environment") < in_file.index("Config:\n") < in_file.index("Hooks will be executed")
    for of_mmengine in ("System environment", "Config:\n", "Hooks will be executed", "paramwise_options"):
        assert of_mmengine not in console
    assert "this run" in console and "Epoch(train)" in console

    summary, store = run_summary(runner), StoreReader(runner.train_dataloader.dataset.store_path)
    assert summary["data"].startswith(f"{store.path}: 4 images, {len(store.classes):,} classes")
    assert f"{store.section_bytes['tokens'] / 4:,.1f} of tokens per image" in summary["bytes"]
    assert summary["model"].startswith("ImageClassifier (TokenViT, LinearClsHead), starts from ")
    assert summary["parameters"] == f"{sum(value.numel() for value in runner.model.parameters()):,}"
    assert (summary["steps"], summary["batch"]) == ("2: 1 epoch of 2", "2 = 1 process x 2 x 1 accumulated")
    assert "AdamW, weight decay 0.1; WarmupCosineLR" in summary["learning rate"]
    assert summary["augmentations"].startswith(
        "OneOf(EmbNoise, ColorAdapt), SplitBatch(TokenRRC, BatchCutMix, TokenAdaptAugment("
    )


def config_of_pixels(tmp_path: Path) -> Config:
    """A config of mmpretrain's on two images of two classes."""
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "images" / name / "0.png")
    loader = {
        "batch_size": 2,
        "dataset": {
            "type": "CustomDataset",
            "data_prefix": str(tmp_path / "images"),
            "pipeline": [
                {"type": "LoadImageFromFile", "color_type": "grayscale"},
                {"type": "RandomFlip", "prob": 0.5},
                {"type": "PackInputs"},
            ],
        },
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "num_workers": 0,
        "persistent_workers": False,
    }
    model = {
        "type": "ImageClassifier",
        "data_preprocessor": {"type": "ClsDataPreprocessor", "mean": [0.0], "std": [255.0]},
        "backbone": {"type": "LeNet5", "num_classes": 2},
        "head": {"type": "ClsHead", "loss": {"type": "CrossEntropyLoss"}},
    }
    return Config(
        {
            "default_scope": "mmpretrain",
            "model": model,
            "train_dataloader": loader,
            "train_cfg": {"by_epoch": True, "max_epochs": 1},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
            "work_dir": str(tmp_path / "work"),
            "default_hooks": {},
        }
    )


def test_other_peoples_data_and_models_are_described(tmp_path: Path, build_runner: Callable) -> None:
    runner = build_runner(config_of_pixels(tmp_path))
    runner.train()
    summary = run_summary(runner)
    assert summary["data"] == f"CustomDataset of {tmp_path / 'images'}: 2 images, 2 classes (cat, dog)"
    assert summary["tokenizer"] == "none: the model takes pixels"
    assert summary["augmentations"] == "RandomFlip"
    assert summary["learning rate"] == "0.1, SGD, weight decay 0; constant"


def test_part_of_the_images_and_augmentations_of_batches_are_told(tmp_path: Path, build_runner: Callable) -> None:
    cfg = config_of_pixels(tmp_path)
    part = {"type": "seitpp.SubsetDataset", "dataset": cfg.train_dataloader.dataset, "count": 1, "keep_length": True}
    cfg.train_dataloader.dataset = part
    mixup = {"augments": {"type": "Mixup", "alpha": 0.8}, "probs": 0.5}
    cfg.model.data_preprocessor.update(num_classes=2, batch_augments=mixup)
    runner = build_runner(cfg)
    assert runner.train_loop
    summary = run_summary(runner)
    assert summary["data"].startswith("CustomDataset: 2 images (1 different, repeated), 2 classes")
    assert summary["augmentations"] == "RandomFlip, Mixup"


def test_what_a_run_that_fails_at_its_start_logged_is_written_at_its_end(tmp_path: Path) -> None:
    logger = MMLogger.get_instance(tmp_path.name, log_file=str(tmp_path / "run.log"))
    open_with_summary(logger)
    logger.info("Config:\nlr = 1")
    assert (tmp_path / "run.log").read_text() == ""
    for handler in logger.handlers:  # as at the end of Python
        handler.close()
    assert "lr = 1" in (tmp_path / "run.log").read_text()
