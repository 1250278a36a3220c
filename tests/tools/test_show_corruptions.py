"""`tools/visualization/show_corruptions.py`: each severity of both corruptions, and what a tokenizer keeps of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.classifier import make_trained_classifier
from helpers.tools import tool_main
from seitpp.benchmarking.synthetic import make_images
from seitpp.images.corruptions import KINDS, Corruption

LABEL, TITLE, GAP = 136, 44, 4  # pixels of the picture's frame


@pytest.fixture(scope="module")
def main() -> Callable[..., int]:
    tool = tool_main("visualization/show_corruptions.py")
    return lambda *line: tool([str(word) for word in line])


def pixels_of_file(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def tile(picture: Path, row: int, column: int, size: int) -> np.ndarray:
    """One image of the picture's first block."""
    pixels = pixels_of_file(picture)
    top, left = TITLE + row * (size + GAP), LABEL + column * (size + GAP)
    return pixels[top : top + size, left : left + size]


def test_every_severity_is_shown(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_images(tmp_path / "images", 3, size=96)
    out = tmp_path / "new" / "shown.png"
    assert main(tmp_path / "images", "--samples", 2, "--size", 96, "--seed", 4, "--out", out) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    clean = pixels_of_file(sorted((tmp_path / "images").iterdir())[2])
    for row, kind in enumerate(KINDS):
        np.testing.assert_array_equal(tile(out, row, 0, 96), clean)
        for severity in range(1, 6):
            expected = Corruption(kind, severity, seed=4).apply(clean.transpose(2, 0, 1), 2)
            np.testing.assert_array_equal(tile(out, row, severity, 96), expected.transpose(1, 2, 0))


def test_tokens_are_shown_below(main: Callable, tmp_path: Path) -> None:
    """A tokenizer without loss would repeat the row above; this one has few codes."""
    trained = make_trained_classifier(tmp_path / "classifier")
    out = tmp_path / "shown.png"
    assert main(trained.images, "--count", 1, "--tokenizer", trained.store, "--out", out, "--order", "imagenet-c") == 0
    height = (len(pixels_of_file(out)) - TITLE) // 4
    rows = [tile(out, row, 0, height - GAP) for row in range(4)]
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[1], rows[3])
    assert (rows[0] != rows[1]).any()
    assert len(np.unique(rows[1].reshape(-1, 3), axis=0)) < len(np.unique(rows[0].reshape(-1, 3), axis=0))


def test_image_that_cannot_be_read_is_named(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = sorted(make_images(tmp_path / "images", 2, size=16).iterdir())[1]
    path.write_bytes(path.read_bytes()[:60])
    assert main(path.parent, "--out", tmp_path / "shown.png") == 1
    assert f"error: {path.name} cannot be read: " in capsys.readouterr().err
    assert not (tmp_path / "shown.png").exists()
