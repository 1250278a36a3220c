"""Recipes on stores of other sizes than they name: every size follows the header, and what cannot work is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_codebook, make_store
from seitpp.engine.store_sizes import use_stores
from seitpp.registry import MODELS
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans

SEITPP = "seitpp_vit-base-p16_8xb128-300e_in1k-tokens"
MTM = "mtm_vit-base-p16_8xb512-400e_in1k-tokens"
DCT = "seit_vit-small-p16_8xb128-300e_in100-dct"
PIXELS = "seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens"


def stores(folder: Path, **sizes: object) -> tuple[Path, Path]:
    sizes = {"grid": (16, 24), "codebook_size": 20, "code_dim": 6, "num_classes": 3, **sizes}
    return make_store(folder / "train", num_samples=4, **sizes), make_store(folder / "val", 5, seed=1, **sizes)


@pytest.fixture
def load(repository: Path) -> Callable[[str], Config]:
    return lambda name: Config.fromfile(next((repository / "configs").rglob(f"{name}.py")))


@pytest.mark.parametrize("name", [SEITPP, MTM])
def test_recipe_trains_on_codes_of_other_sizes(
    load: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner], name: str
) -> None:
    cfg = load(name)
    use_stores(cfg, *stores(tmp_path / "data"))
    (tmp_path / "data" / "synonyms.json").write_text(json.dumps({code: [(code + 1) % 20] for code in range(20)}))
    assert cfg.data_preprocessor.crop_size == (14, 20)  # 7/8 of 16 and of 24, in whole patches
    runner = build_runner(shrink(cfg, tmp_path / "small", epochs=1))
    runner.train()
    assert runner.iter == 2 and runner.train_dataloader.dataset.store_path == str(tmp_path / "data" / "train")
    assert runner.model.backbone.patch_resolution == (7, 10)
    if name == SEITPP:
        assert runner.model.head.num_classes == runner.model.data_preprocessor.num_classes == 3


def test_recipe_trains_on_coefficients_of_other_sizes(
    load: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> None:
    cfg = load(DCT)
    use_stores(cfg, *stores(tmp_path / "data", channels=7))
    runner = build_runner(shrink(cfg, tmp_path / "small", epochs=1))
    runner.train()
    assert runner.model.backbone.code_dim == 7


@pytest.mark.parametrize(
    ("facts", "distance"),
    [({"type": "PatchKMeans"}, "euclidean"), ({"distance": "euclidean"}, "euclidean"), ({"name": "any"}, "cosine")],
)
def test_distance_is_that_of_the_tokenizer_where_the_store_tells(
    load: Callable, tmp_path: Path, facts: dict, distance: str
) -> None:
    cfg = load(MTM)
    options = dict(codebook_size=4, grid=(16, 16), tokenizer=facts, codebook=make_codebook(4, 8))
    with StoreWriter(tmp_path / "train", **options) as writer:
        writer.append(np.zeros((1, 16, 16), int))
    use_stores(cfg, tmp_path / "train")
    assert cfg.data_preprocessor.get("distance", "cosine") == distance


def test_pixels_are_those_of_the_stores_own_tokenizer(load: Callable, tmp_path: Path) -> None:
    cfg, store = load(PIXELS), tmp_path / "train"
    tokenizer = PatchKMeans(image_size=(32, 48), patch_size=2, codebook=torch.rand(20, 12))
    options = dict(codebook_size=20, grid=(16, 24), codebook=tokenizer.codebook.numpy(), classes=["a", "b"])
    with StoreWriter(store, tokenizer=tokenizer.describe(), label_kind="class", **options) as writer:
        writer.append(np.zeros((1, 16, 24), int), np.zeros(1, int))
    (tmp_path / "synonyms.json").write_text(json.dumps({code: [(code + 1) % 20] for code in range(20)}))
    use_stores(cfg, store)
    preprocessor = MODELS.build(cfg.data_preprocessor)
    preprocessor.prepare_training({"grid": [16, 24]}, "STORE")
    codes = torch.randint(20, (8, 16, 24))
    batch = {"inputs": codes, "sample_idx": torch.arange(8), "gt_label": torch.arange(8) % 2}
    assert preprocessor(batch, training=True)["inputs"].shape == (8, 12, 14, 20)


def test_pixels_of_a_store_that_tells_no_size_are_refused(load: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train does not tell the size of the images .* PixelAugment crops to; use a"):
        use_stores(load(PIXELS), make_store(tmp_path / "train", grid=(16, 16)))


def test_whole_grid_stays_whole(load: Callable, tmp_path: Path) -> None:
    cfg = load("seit_vit-tiny-p2_1xb64-60e_digits-tokens")
    use_stores(cfg, make_store(tmp_path / "train", grid=(6, 6), code_dim=5))
    assert cfg.model.backbone.grid_size == (6, 6) and cfg.data_preprocessor.crop_size is None
    assert cfg.data_preprocessor.augments[0]["size"] == (6, 6) and cfg.model.backbone.code_dim == 5
    assert cfg.val_dataloader.dataset.store == "val"


def test_stores_that_do_not_belong_together(load: Callable, tmp_path: Path) -> None:
    train = make_store(tmp_path / "train", num_classes=3)
    with pytest.raises(ValueError, match=r"val has another classes than .*train: .*'class-3'.*one class list"):
        use_stores(load(SEITPP), train, make_store(tmp_path / "val", num_classes=4))
    with pytest.raises(ValueError, match="none is not a token store"):
        use_stores(load(SEITPP), tmp_path / "none")


def test_coefficients_for_a_recipe_of_codes(load: Callable, tmp_path: Path) -> None:
    store = make_store(tmp_path / "dct", channels=7)
    for name, part in ((MTM, "network embeds"), (SEITPP, "Token-EDA replaces")):
        with pytest.raises(
            ValueError, match=rf"dct holds 7 integers per position and no codes, .* {part}; use a config for coeff"
        ):
            use_stores(load(name), store)


def test_noise_of_coefficients_is_relative(load: Callable, tmp_path: Path) -> None:
    cfg = load("seit_vit-tiny-p2_1xb64-60e_digits-tokens")
    use_stores(cfg, make_store(tmp_path / "dct", channels=7))
    (noise,) = [part for part in cfg.data_preprocessor.augments if part.type == "seitpp.EmbNoise"]
    assert noise.relative
