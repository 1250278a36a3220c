"""The example: there and back, one draw on codes and pixels, a store that builds its tokenizer again, a training."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from helpers.tools import tool_main
from seitpp.benchmarking.synthetic import make_images
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.registry import TOKENIZERS, TRANSFORMS
from seitpp.storage import StoreReader
from seitpp.tokenizers import tokenizer_from_store

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The project's module, registered for one test."""
    monkeypatch.syspath_prepend(PROJECT)
    import example_tokenizer

    yield example_tokenizer
    for registry, name in ((TOKENIZERS, "ColourBins"), (TRANSFORMS, "QuarterTurns")):
        del registry.module_dict[name]
    for name in [name for name in sys.modules if name.split(".")[0] == "example_tokenizer"]:
        del sys.modules[name]


def test_patches_of_one_colour_come_back_within_half_a_bin(example: ModuleType) -> None:
    tokenizer = example.ColourBins(image_size=16, patch_size=4, levels=5)
    images = torch.rand(3, 3, 4, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)
    codes = tokenizer.encode(images)
    assert codes.shape == (3, 4, 4) and tokenizer.codebook_size == 125
    assert (tokenizer.decode(codes) - images).abs().max() <= 1 / 8 + 1e-6
    assert torch.equal(tokenizer.encode(tokenizer.decode(codes)), codes)


def test_turned_codes_are_the_codes_of_turned_pixels(example: ModuleType) -> None:
    tokenizer, transform = example.ColourBins(image_size=16, patch_size=4), example.QuarterTurns()
    images = torch.rand(32, 3, 16, 16)
    drawn = transform.sample(32, (16, 16), generator=torch.Generator().manual_seed(0))
    assert set(drawn.quarters.tolist()) == {0, 1, 2, 3}
    turned = tokenizer.encode(transform.apply(images, drawn))
    assert torch.equal(transform.apply(tokenizer.encode(images), drawn), turned)
    with pytest.raises(ValueError, match="turns square grids, got 4 x 6"):
        transform.sample(2, (4, 6))


def test_images_to_a_store_to_a_classifier(example: ModuleType, tmp_path: Path) -> None:
    for split, seed in (("train", 0), ("val", 9)):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split).mkdir(parents=True, exist_ok=True)
            make_images(tmp_path / "images" / split / name, 4, 32, seed=seed)
        line = [PROJECT / "configs/colour_bins.py", tmp_path / "images", tmp_path / split, "--split", split]
        options = ["--workers", 0, "--cfg-options", "tokenizer.image_size=32"]
        assert tool_main("tokenize_images.py")([*line, *options]) == 0
    reader = StoreReader(tmp_path / "train")
    tokenizer = tokenizer_from_store(reader)
    assert isinstance(tokenizer, example.ColourBins) and reader.grid == tokenizer.grid == (4, 4)
    config = PROJECT / "configs/seit_vit-tiny_colour-bins.py"
    stores = ["--store", tmp_path / "train", "--val-store", tmp_path / "val", "--work-dir", tmp_path / "run"]
    sizes = ["train_cfg.max_epochs=1", "param_scheduler.warmup=0", "train_dataloader.batch_size=4"]
    assert tool_main("train.py")([config, *stores, "--cfg-options", *sizes]) == 0
    weights = load_checkpoint_file(tmp_path / "run" / "epoch_1.pth")["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())
