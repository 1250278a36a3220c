"""`ReconstructionImageHook`: the picture holds the originals above what came back."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmpretrain.structures import DataSample
from PIL import Image

from seitpp.engine import ReconstructionImageHook
from seitpp.registry import TOKENIZERS


def runner(folder: Path, **facts: object) -> SimpleNamespace:
    tokenizer = TOKENIZERS.build(dict(type="seitpp.PatchKMeans", image_size=128, patch_size=4))
    model = torch.nn.Module()
    model.tokenizer = tokenizer
    return SimpleNamespace(
        work_dir=str(folder), logger=logging.getLogger("test"), model=model, epoch=7, _train_loop=None, **facts
    )


def outputs(count: int) -> list[DataSample]:
    samples = [DataSample() for _ in range(count)]
    for number, one in enumerate(samples):
        one.set_field(torch.full((3, 128, 128), number / 10), "image")
        one.set_field(torch.full((3, 128, 128), 2.0), "reconstruction")  # clamped
    return samples


def test_picture_shows_spread_images_above_their_reconstructions(tmp_path: Path) -> None:
    hook = ReconstructionImageHook(count=3)
    hook.after_val_iter(runner(tmp_path), 0, outputs=outputs(7))
    hook.after_val_iter(runner(tmp_path), 1, outputs=outputs(1))
    assert [path.name for path in tmp_path.rglob("*.png")] == ["epoch_7.png"]
    picture = np.asarray(Image.open(tmp_path / "reconstructions" / "epoch_7.png"))
    centres = 4 + 64 + 132 * np.arange(3)  # tiles of 128 pixels with 4 around
    assert picture[68, centres, 0].tolist() == [round(255 * number / 10) for number in (0, 2, 4)]
    assert (picture[68 + 132, centres] == 255).all()


def test_a_test_has_its_own_name(tmp_path: Path) -> None:
    ReconstructionImageHook().after_test_iter(runner(tmp_path), 0, outputs=outputs(2))
    assert (tmp_path / "reconstructions" / "test.png").is_file()
