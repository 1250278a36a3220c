"""`tools/visualization/browse_dataset.py`: from a config to a page and a picture, and what it needs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from helpers.tools import tool_main
from seitpp.benchmarking.synthetic import make_store

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "seitpp" / "seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py"


@pytest.fixture(scope="module")
def main() -> Callable[..., int]:
    tool = tool_main("visualization/browse_dataset.py")
    return lambda *line: tool(line)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    store = make_store(tmp_path / "store", num_samples=9, grid=(4, 4), codebook_size=12, num_classes=3)
    (tmp_path / "config.py").write_text(
        "default_scope = 'seitpp'\nmodel = dict(type='mmpretrain.ImageClassifier')\n"
        f"data_preprocessor = dict(type='seitpp.TokenDataPreprocessor', codebook={str(store)!r}, num_classes=3, "
        "augments=[dict(type='seitpp.BatchRandomFlip', prob=1.0)])\n"
        f"loader = dict(batch_size=2, dataset=dict(type='seitpp.TokenDataset', store={str(store)!r}), "
        "collate_fn=dict(type='seitpp.identity_collate'))\n"
        "train_dataloader = loader\nval_dataloader = loader\n"
    )
    return tmp_path / "config.py"


def test_config_to_a_page_and_a_picture(
    main: Callable, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "new" / "out"
    assert main(config, "--number", 3, "--draws", 2, "--out", out) == 0
    assert capsys.readouterr().out == f"{out}/browse_dataset.png, {out}/browse_dataset.html\n"
    page = (out / "browse_dataset.html").read_text(encoding="utf-8")
    assert "3 of 9 samples, evenly spread." in page and "codes as colours" in page
    assert re.findall(r"<h3>(\d) \(class-\d\)</h3>", page) == ["0", "3", "6"]
    assert len(re.findall(r">draw 2: class-\d<", page)) == 3
    with Image.open(out / "browse_dataset.png") as picture:
        assert picture.size == (136 + 3 * 132, 4 + 3 * 132)


def test_validation_and_more_samples_than_there_are(main: Callable, config: Path, tmp_path: Path) -> None:
    assert main(config, "-p", "val", "-n", 100, "-o", tmp_path / "out") == 0
    page = (tmp_path / "out" / "browse_dataset.html").read_text(encoding="utf-8")
    assert "9 of 9 samples" in page and page.count("<figcaption") == 18 and "draw" not in page


def test_missing_token_adapt_is_named_with_how_to_train_one(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = make_store(tmp_path / "store", num_samples=9, grid=(4, 4), codebook_size=12, num_classes=3)
    checkpoint = tmp_path / "none.pth"
    assert main(RECIPE, "--store", store, "--out", tmp_path / "out", "--token-adapt", checkpoint) == 1
    error = capsys.readouterr().err
    assert f"TokenAdapt's checkpoint {checkpoint} does not exist; train one (tools/train.py with" in error
    assert not (tmp_path / "out").exists()
