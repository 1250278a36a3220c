"""`seitpp.images.label_maps` by itself, and the conversion of colours that the documentation shows."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.images.label_maps import distinct_colours


def test_colours_of_classes_differ() -> None:
    colours = np.array(distinct_colours(40))
    assert colours.min() >= 0
    assert colours.max() <= 255
    distances = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(40)
    assert distances.min() > 15


def test_masks_of_colours_become_indices_as_documented(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.array([[[0, 128, 0], [0, 0, 0]], [[128, 0, 0], [9, 9, 9]]], np.uint8)
    Image.fromarray(pixels).save("mask.png")
    text = (repository / "docs" / "segmentation.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "mask.png" in block)
    exec(code, {})
    with Image.open("indices.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[2, 0], [1, 255]]
