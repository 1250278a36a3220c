"""tools/dataset_converters/shrink_images.py: splits, its table, and that a second call does nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tools import tool_main

main = tool_main("dataset_converters/shrink_images.py")


def test_splits_get_folders_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, count in (("train", 5), ("val", 2)):
        for label in "ab":
            for number in range(count):
                path = tmp_path / "images" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((10, 10), 20 * number, np.uint8)).save(path)
    (tmp_path / "images/train/a/1.png").write_bytes(b"")
    command = [
        tmp_path / "images",
        tmp_path / "out",
        "--split",
        "train",
        "val",
        "--jpeg-quality",
        "5",
        "--workers",
        "0",
    ]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "9 of 10" in shown.out and "4 of 4" in shown.out
    assert "since they could not be read: 1 of 10 images (a/1.png: the file is empty); " in shown.err
    assert len(list(tmp_path.glob("out/train/[ab]/*.jpg"))) == 9 and len(list(tmp_path.glob("out/val/[ab]/*.jpg"))) == 4
    assert main(command) == 0
    assert capsys.readouterr().out.count("is complete already; nothing was done") == 2
