"""`tools/visualization/vis_tsne.py`: from a classifier to points and numbers, and what is refused."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from helpers.classifier import TrainedClassifier, make_trained_classifier
from helpers.tools import tool_main
from seitpp.models import TokenAdapt

SIZES = dict(out_grid=4, dims=8, num_heads=2, head_dims=4, mlp_dims=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    folder = tmp_path_factory.mktemp("classifier")
    trained = make_trained_classifier(folder, num_images=12)
    network = TokenAdapt(codebook_size=16, code_dim=12, grid=5, **SIZES)
    weights = {f"token_adapt.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights}, folder / "adapt.pth")
    config = Config.fromfile(trained.config)
    augments = [dict(type="seitpp.BatchRandomFlip"), dict(type="seitpp.BatchRandomResizedCrop", size=8)]
    adapted = dict(type="seitpp.TokenAdaptAugment", token_adapt=SIZES, checkpoint="missing.pth", augments=augments)
    config.data_preprocessor.augments = [adapted]
    config.dump(folder / "adapted.py")
    return trained


@pytest.fixture
def main(trained: TrainedClassifier, tmp_path: Path) -> Callable[..., int]:
    tool, out = tool_main("visualization/vis_tsne.py"), ["--out", tmp_path / "a.png", tmp_path / "a.csv"]
    line = ["--augments", trained.config.with_name("adapted.py"), "--device", "cpu", "--draws", 2, *out]
    return lambda *options: tool([trained.config, trained.checkpoint, *line, *options])


def test_panels_with_their_numbers(
    main: Callable, trained: TrainedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main("--token-adapt", trained.config.with_name("adapt.pth"), "--samples", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["clean", "12"],
        ["direct", "24"],
        ["TokenAdapt", "24"],
        ["pixels", "24"],
    ]
    assert lines[5:] == [f"wrote {tmp_path / 'a.png'}", f"wrote {tmp_path / 'a.csv'}"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 3 * picture.height
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 + 3 * (12 + 24)
    assert {row["draw"] for row in rows if row["panel"] == "pixels"} == {"", "0", "1"}
    right = [row["predicted"] == row["label"] for row in rows if row["panel"] == "direct" and row["draw"]]
    assert lines[2].split()[-2] == f"{100 * sum(right) / 24:.1f}"


def test_a_panel_that_cannot_be_made_is_left_out_unless_it_is_asked_for(
    main: Callable, capsys: pytest.CaptureFixture
) -> None:
    assert main("--classes", "ant", "bee") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["clean", "direct", "pixels", "TokenAdapt"]
    assert lines[4].startswith("TokenAdapt is left out: TokenAdapt's checkpoint missing.pth does not exist")
    assert main("--panels", "direct", "TokenAdapt") == 1
    assert "missing.pth does not exist" in capsys.readouterr().err


def test_perplexity_fits_the_points(main: Callable, capsys: pytest.CaptureFixture) -> None:
    assert main("--perplexity", 12) == 1
    assert "perplexity is 12, and the smallest panel has 12 points" in capsys.readouterr().err
