"""tools/dataset_converters/fashion_mnist_json.py: ten JSON files to folders or arrays, split by position."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tools import tool_main

CONVERT = tool_main("dataset_converters/fashion_mnist_json.py")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The files of the package with 7 images per class, of one grey each: 10 times the class plus the number."""
    folder = tmp_path / "package" / "src" / "clothes"
    folder.mkdir(parents=True)
    for label in range(10):
        rows = [[10 * label + number] * 784 for number in range(7)]
        rows[1:1] = [[]] if label == 0 else []
        (folder / f"{label}.json").write_text(json.dumps({"data": rows}))
    return tmp_path / "package"


def test_the_last_seventh_of_a_class_is_for_validation(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert CONVERT([package, tmp_path / "out", "--format", "npz"]) == 0
    with np.load(tmp_path / "out" / "images.npz") as arrays:
        assert arrays["train_images"].shape == (60, 28, 28) and arrays["train_images"].dtype == np.uint8
        assert arrays["train_images"][:7, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 10]  # the empty row is no image
        assert arrays["val_images"][:, 27, 27].tolist() == [10 * label + 6 for label in range(10)]
        assert arrays["val_labels"].tolist() == list(range(10)) and arrays["classes"][0] == "T-shirt/top"
    assert "warning: train: 60 images, published are 60,000" in capsys.readouterr().err


def test_class_folders(package: Path, tmp_path: Path) -> None:
    assert CONVERT([package / "src" / "clothes", tmp_path / "out"]) == 0
    with Image.open(tmp_path / "out" / "val" / "Ankle_boot" / "00009.png") as picture:
        assert np.asarray(picture).max() == np.asarray(picture).min() == 96
    assert len(list((tmp_path / "out" / "train").rglob("*.png"))) == 60


def test_fewer_images_per_class(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert CONVERT([package, tmp_path / "out", "--format", "npz", "--per-class", 2, 1]) == 0
    with np.load(tmp_path / "out" / "images.npz") as arrays:
        assert arrays["train_images"][:3, 0, 0].tolist() == [0, 1, 10] and len(arrays["train_labels"]) == 20
        assert arrays["val_images"][:, 0, 0].tolist() == [10 * label + 6 for label in range(10)]
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "images .*9.json does not exist"),
        ('{"rows": []}', "9.json is damaged or is not .*784 whole numbers from 0 to 255 per image"),
        ('{"data": [[1, 2]]}', r"it holds int64 of shape \(1, 2\)"),
        (json.dumps({"data": [[0] * 784, [1] * 783]}), "is damaged or is not"),
        (json.dumps({"data": [[256] * 784]}), "it holds numbers from 256 to 256"),
        (json.dumps({"data": [[-1] * 784]}), "it holds numbers from -1 to -1"),
        (json.dumps({"data": [[0.5] * 784]}), "it holds float64"),
        ("[]", "expected an object"),
    ],
)
def test_wrong_files_are_refused(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture, content: str | None, message: str
) -> None:
    path = package / "src" / "clothes" / "9.json"
    path.unlink() if content is None else path.write_text(content)
    assert CONVERT([package, tmp_path / "out"]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()
