"""`tools/visualization/show_augmentations.py`: from a store to a picture and a page, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tools import tool_main
from seitpp.models import TokenAdapt
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans, ViTVQGAN

CODEBOOK = np.random.default_rng(0).random((6, 12)).astype(np.float32)
SIZES = dict(codebook_size=6, code_dim=12, grid=4, out_grid=3, dims=8, num_heads=2, head_dims=4, mlp_dims=8)


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    tool = tool_main("visualization/show_augmentations.py")
    return lambda *line: tool(line)


def write_store(path: Path, codebook: np.ndarray = CODEBOOK, grid: int = 4, **facts: object) -> Path:
    tokenizer = facts or PatchKMeans(2 * grid, 2, codebook=codebook).describe()
    options = {"codebook_size": len(codebook), "grid": (grid, grid), "tokenizer": tokenizer, "codebook": codebook}
    with StoreWriter(path, **options) as writer:
        writer.append(np.random.default_rng(0).integers(len(codebook), size=(9, grid, grid)))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "store")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text(f"model = dict(token_adapt={SIZES})\n")
    return tmp_path / "config.py"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    weights = {f"token_adapt.{name}": value for name, value in TokenAdapt(**SIZES).state_dict().items()}
    torch.save({"state_dict": {**weights, "codebook": torch.from_numpy(CODEBOOK)}}, tmp_path / "epoch_1.pth")
    return tmp_path / "epoch_1.pth"


def rows_in(page: Path) -> list[str]:
    return re.findall("<dt>(.*?)</dt>", page.read_text(encoding="utf-8"))


def test_store_and_token_adapt_to_a_picture_and_a_page(
    main: Callable, store: Path, config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "new" / "out"
    assert main(store, "--config", config, "--token-adapt", checkpoint, "--out", out, "--count", 4) == 0
    assert capsys.readouterr().out == f"{out}/augmentations.png, {out}/augmentations.html\n"
    assert sorted(path.name for path in out.iterdir()) == ["augmentations.html", "augmentations.png"]
    with Image.open(out / "augmentations.png") as picture:
        assert picture.size == (2 * (136 + 4 * 100), 3 * (44 + 4 * 100))
    page = (out / "augmentations.html").read_text(encoding="utf-8")
    assert rows_in(out / "augmentations.html").count("tokens with TokenAdapt") == 4
    assert f"Samples 0, 2, 4, 6 of {store}, seed 0." in page and f"TokenAdapt: {checkpoint}." in page


def test_without_token_adapt_a_line_says_how_to_get_one(
    main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(store, "--out", tmp_path / "out", "--samples", 5, 0) == 0
    said = "Rows of TokenAdapt are left out. Train one with tools/train.py and a config of configs/tokenadapt/"
    page = tmp_path / "out" / "augmentations.html"
    assert said in capsys.readouterr().out and said in page.read_text(encoding="utf-8")
    assert "Samples 5, 0 of" in page.read_text(encoding="utf-8")
    assert "tokens with TokenAdapt" not in rows_in(page) and len(rows_in(page)) == 4 * 3 + 5


def test_networks_come_from_the_store_s_checkpoint_or_the_given_one(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.manual_seed(0)
    side = dict(dims=8, depth=1, num_heads=2, head_dims=4, mlp_dims=8)
    options = dict(arch=dict(encoder=side, decoder=side), image_size=8, patch_size=2, codebook_size=6, code_dim=4)
    tokenizer = ViTVQGAN(**options)
    torch.save({"state_dict": tokenizer.state_dict()}, tmp_path / "moved.pth")
    facts = {**tokenizer.describe(), "checkpoint": str(tmp_path / "gone.pth")}
    store = write_store(tmp_path / "networks", tokenizer.codebook.detach().numpy(), **facts)
    assert main(store, "--out", tmp_path / "out") == 1
    assert "gone.pth, which is not here; pass their file as checkpoint" in capsys.readouterr().err
    assert main(store, "--out", tmp_path / "out", "--checkpoint", tmp_path / "moved.pth") == 0


def test_options_that_belong_together_are_asked_for(
    main: Callable, store: Path, config: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(store, "--config", config)
    assert "--token-adapt and --config belong together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "3", "9"], "store has no sample 9; expected numbers from 0 to 8"),
        (["--samples", "-1", "3"], "store has no sample -1; expected numbers from 0 to 8"),
        (["--count", "1"], "number of samples to show is 1, expected at least 2"),
    ],
)
def test_wrong_samples_are_one_line(
    main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture, options: list[str], message: str
) -> None:
    assert main(store, "--out", tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert "error: " in error and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_store_of_an_unknown_tokenizer_is_refused(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(write_store(tmp_path / "imported", name="seit"), "--out", tmp_path / "out") == 1
    assert "error: the store's tokenizer, 'seit', cannot be built again" in capsys.readouterr().err


def test_tokens_without_a_spatial_grid_are_refused(
    main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatchKMeans, "spatial", False)
    assert main(store, "--out", tmp_path / "out") == 1
    assert "error: the tokens of PatchKMeans have no spatial grid" in capsys.readouterr().err


def test_token_adapt_of_another_grid_is_refused(
    main: Callable, config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = write_store(tmp_path / "large", grid=5)
    assert main(store, "--config", config, "--token-adapt", checkpoint, "--out", tmp_path / "out") == 1
    assert "large holds grids of 5 x 5 tokens, TokenAdapt converts 4 x 4" in capsys.readouterr().err


def test_token_adapt_of_another_codebook_is_refused(
    main: Callable, config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = write_store(tmp_path / "other", 1 - CODEBOOK)
    assert main(store, "--config", config, "--token-adapt", checkpoint, "--out", tmp_path / "out") == 1
    assert "belong to different tokenizers" in capsys.readouterr().err


def test_weights_of_other_sizes_than_the_config_s_are_refused(
    main: Callable, store: Path, config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config.write_text(config.read_text().replace("'dims': 8", "'dims': 16"))
    assert main(store, "--config", config, "--token-adapt", checkpoint, "--out", tmp_path / "out") == 1
    assert "set token_adapt to the sizes that it was trained with" in capsys.readouterr().err


def test_config_and_checkpoint_that_are_none_are_refused(
    main: Callable, store: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = [store, "--out", tmp_path / "out", "--config", config, "--token-adapt"]
    assert main(*line, tmp_path / "none.pth") == 1
    assert "TokenAdapt's checkpoint" in (error := capsys.readouterr().err) and "does not exist" in error
    config.write_text("lr = 1\n")
    assert main(*line, tmp_path / "none.pth") == 1
    assert "has no model.token_adapt; expected a file of configs/tokenadapt/" in capsys.readouterr().err
