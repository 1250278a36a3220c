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
from seitpp.engine.stores import use_stores
from seitpp.engine.stores.augments import kept_side
from seitpp.registry import MODELS
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans

SEITPP = "seitpp_vit-base-p16_8xb128-300e_in1k-tokens"
MTM = "mtm_vit-base-p16_8xb512-400e_in1k-tokens"
DCT = "seit_vit-small-p16_8xb128-300e_in100-dct"
TOKEN_ADAPT = "tokenadapt_d64_1xb64-40e_digits-8px"
PIXELS = "seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens"


def stores(folder: Path, **sizes: object) -> tuple[Path, Path]:
    sizes = {"grid": (16, 24), "codebook_size": 20, "code_dim": 6, "num_classes": 3, **sizes}
    return make_store(folder / "train", num_samples=4, **sizes), make_store(folder / "val", 5, seed=1, **sizes)


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


def test_recipe_without_a_crop_gets_one_on_another_grid(load: Callable, tmp_path: Path) -> None:
    cfg = load("seitpp_vit-tiny-p2_1xb64-60e_digits-tokens")
    use_stores(cfg, make_store(tmp_path / "train", grid=(12, 8), code_dim=5))
    assert cfg.model.backbone.grid_size == cfg.data_preprocessor.crop_size == (10, 7)  # 7/8 of each side
    halves = cfg.data_preprocessor.augments[0]
    assert halves.second[0].token_adapt.out_grid == (10, 7) and cfg.model.backbone.code_dim == 5
    assert halves.first == [dict(type="seitpp.BatchCenterCrop", size=(10, 7))]  # else the halves would differ in size
    assert cfg.val_dataloader.dataset.store == "val"


def test_recipes_own_grid_stays_whole(load: Callable, tmp_path: Path) -> None:
    cfg = load("seit_vit-tiny-p4_1xb64-30e_mnist5k-tokens")
    use_stores(cfg, make_store(tmp_path / "train", grid=(7, 7), code_dim=5))
    assert cfg.model.backbone.grid_size == (7, 7) and cfg.data_preprocessor.get("crop_size") is None
    assert cfg.data_preprocessor.augments[0]["size"] == (7, 7)


@pytest.mark.parametrize(
    ("side", "patch", "kept"), [(32, 2, 28), (12, 2, 10), (4, 1, 4), (7, 4, 4), (3, 2, 2), (1, 1, 1)]
)
def test_kept_tokens_are_whole_patches_inside_the_grid(side: int, patch: int, kept: int) -> None:
    assert kept_side(side, patch) == kept


def test_grid_smaller_than_a_patch(load: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train: 1 x 4 tokens do not divide into patches of 2 x 2"):
        use_stores(load(MTM), make_store(tmp_path / "train", grid=(1, 4)))


def test_votes_come_from_the_training_store(load: Callable, tmp_path: Path) -> None:
    cfg = load("knn_mtm_vit-tiny-p2_digits-tokens")
    train, val = stores(tmp_path)
    use_stores(cfg, train, val)
    assert (cfg.default_hooks.bank.dataset.store, cfg.test_dataloader.dataset.store) == (str(train), str(val))
    assert cfg.model.head.num_classes == 3
    assert cfg.test_evaluator.task_metrics.k10[0].topk == (1,)  # of three classes there is no top-5


def test_wrapped_data_set_and_its_subset_stay(load: Callable, tmp_path: Path) -> None:
    cfg = load(SEITPP)
    inner = dict(cfg.train_dataloader.dataset, subset=dict(fraction=0.5))
    cfg.train_dataloader.dataset = dict(type="mmengine.RepeatDataset", times=2, dataset=inner)
    use_stores(cfg, *stores(tmp_path))
    found = cfg.train_dataloader.dataset
    assert found.times == 2 and found.dataset.subset == dict(fraction=0.5)
    assert found.dataset.store == str(tmp_path / "train")


def test_unnamed_classes_are_counted(load: Callable, tmp_path: Path) -> None:
    cfg = load(SEITPP)
    train = make_store(tmp_path / "train", num_samples=4, num_classes=2, named=False)
    val = make_store(tmp_path / "val", num_samples=6, num_classes=5, named=False)
    summary, note = use_stores(cfg, train, val)
    assert (
        summary.endswith(f"Validation and tests read {val}.")
        and "names no classes: 5 are counted from the labels" in note
    )
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 5


def test_synonyms_are_those_that_the_store_carries(load: Callable, tmp_path: Path) -> None:
    options = dict(codebook_size=4, grid=(16, 16), tokenizer={}, codebook=make_codebook(4, 8), label_kind="class")
    with StoreWriter(tmp_path / "train", synonyms={0: [1]}, classes=["a"], **options) as writer:
        writer.append(np.zeros((1, 16, 16), int), np.zeros(1, int))
    cfg = load(SEITPP)
    use_stores(cfg, tmp_path / "train")
    assert cfg.data_preprocessor.augments[0].synonyms == str(tmp_path / "train")
    (tmp_path / "synonyms.json").write_text("{}")
    use_stores(cfg, tmp_path / "train")
    assert cfg.data_preprocessor.augments[0].synonyms == str(tmp_path / "synonyms.json")


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        (
            SEITPP,
            dict(num_classes=None),
            "train holds no labels, and a classifier .* configs/mtm/, which needs no labels",
        ),
        (
            "vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px",
            {},
            "that of a tokenizer, .* give images with --cfg-options tra",
        ),
        (
            "block_dct_q50",
            {},
            "block_dct_q50.py is that of a tokenizer, .* tools/tokenize_images.py makes stores with it",
        ),
    ],
)
def test_store_that_does_not_suit(load: Callable, tmp_path: Path, name: str, made: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        use_stores(load(name), make_store(tmp_path / "train", num_samples=2, grid=(8, 8), **made))


def test_store_without_a_codebook(load: Callable, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "train", codebook_size=4, grid=(8, 8), tokenizer={}) as writer:
        writer.append(np.zeros((1, 8, 8), int))
    for name in (MTM, TOKEN_ADAPT):
        with pytest.raises(ValueError, match="train carries no codebook; import or write it with one"):
            use_stores(load(name), tmp_path / "train")


def test_config_of_images(load: Callable, tmp_path: Path) -> None:
    cfg = Config(dict(model=dict(type="mmpretrain.ImageClassifier", backbone=dict(type="ResNet")), train_dataloader={}))
    with pytest.raises(ValueError, match=r"the config reads no token store \(seitpp.TokenDataset, "):
        use_stores(cfg, make_store(tmp_path / "train"))


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
