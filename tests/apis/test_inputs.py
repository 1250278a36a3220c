"""Names of an inferencer's inputs, by which its pictures are written."""

from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.apis.inputs import ImageInputs
from seitpp.tokenizers import BlockDCT


def test_names_of_images_differ_where_files_are_called_like_a_numbered_name(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a-2.png", "one/a.png", "two/a.png")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
    assert ImageInputs(paths, BlockDCT(16)).names == ["a-2", "a", "a-2-2"]
