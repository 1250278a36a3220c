"""tools/dataset_converters/cifar10_png.py: PNG files of an image per row to folders or arrays."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tools import tool_main

CONVERT = tool_main("dataset_converters/cifar10_png.py")
NAMES = [*(f"data_batch_{number}.png" for number in range(1, 6)), "test_batch.png"]


def rows_of(seed: int) -> np.ndarray:
    """The pixels of ten images, one per row."""
    return np.random.default_rng(seed).integers(0, 256, (10, 1024, 3), np.uint8)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The files of the package with ten images each, an image per class in falling order."""
    folder = tmp_path / "package"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        Image.fromarray(rows_of(seed)).save(folder / name)
    for name, times in (("train_lables.json", 5), ("test_lables.json", 1)):
        (folder / name).write_text(json.dumps([*range(9, -1, -1)] * times))
    return folder


def test_class_folders_keep_the_published_order(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert CONVERT([package, tmp_path / "out"]) == 0
    with Image.open(tmp_path / "out" / "train" / "bird" / "00027.png") as picture:
        assert np.array_equal(np.asarray(picture), rows_of(2)[7].reshape(32, 32, 3))
    with Image.open(tmp_path / "out" / "val" / "truck" / "00000.png") as picture:
        assert np.array_equal(np.asarray(picture)[1], rows_of(5)[0, 32:64])
    assert (tmp_path / "out" / "classes.txt").read_text().split()[:2] == ["airplane", "automobile"]
    assert "warning: train: 50 images, published are 50,000" in capsys.readouterr().err
    assert CONVERT([package, tmp_path / "out"]) == 1
    assert "out exists; name a new folder" in capsys.readouterr().err


def test_fewer_images_per_class_as_arrays(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert CONVERT([package, tmp_path / "out", "--format", "npz", "--per-class", 2, 1]) == 0
    with np.load(tmp_path / "out" / "images.npz") as arrays:
        assert arrays["train_labels"].tolist() == [*range(9, -1, -1)] * 2
        assert np.array_equal(arrays["train_images"], np.concatenate([rows_of(0), rows_of(1)]).reshape(-1, 32, 32, 3))
        assert arrays["val_images"].shape == (10, 32, 32, 3) and arrays["val_images"].dtype == np.uint8
    assert "warning" not in capsys.readouterr().err


def save(pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(pixels).save(path, "PNG")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_3.png", Path.unlink, "images .*data_batch_3.png does not exist"),
        ("data_batch_3.png", save(rows_of(2)[:, :1000]), "data_batch_3.png .* it is 1000 pixels wide, of mode RGB"),
        ("data_batch_3.png", save(rows_of(2)[..., 0]), "it is 1024 pixels wide, of mode L"),
        ("data_batch_3.png", save(np.dstack([rows_of(2), rows_of(2)[..., 0]])), "pixels wide, of mode RGBA"),
        ("data_batch_3.png", lambda path: Image.fromarray(rows_of(2)).save(path, "BMP"), "is not a PNG file of 8-bit"),
        ("data_batch_3.png", lambda path: path.write_bytes(path.read_bytes()[:9000]), "data_batch_3.png is damaged"),
        ("data_batch_3.png", save(rows_of(2)[:9]), "train_lables.json holds 50 labels, expected a list of 49, one per"),
        ("test_lables.json", lambda path: path.write_text("[1, 2]"), "holds 2 labels, expected a list of 10"),
        ("test_lables.json", lambda path: path.write_text("{}"), "test_lables.json holds a JSON dict, expected a list"),
        ("test_lables.json", lambda path: path.write_text(f"{[0] * 9 + [10]}"), r"label 9 is 10, expected .* 0\.\.9"),
        ("test_lables.json", lambda path: path.write_text(f"{[-1] + [0] * 9}"), "label 0 is -1"),
        ("test_lables.json", lambda path: path.write_text(f"{[0.0] + [0] * 9}"), "label 0 is 0.0"),
        ("test_lables.json", Path.unlink, "labels .*test_lables.json does not exist"),
    ],
)
def test_wrong_files_are_refused(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, change: Callable, message: str
) -> None:
    change(package / name)
    assert CONVERT([package, tmp_path / "out"]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()
