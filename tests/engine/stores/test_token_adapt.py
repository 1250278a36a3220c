"""TokenAdapt on a store of one's own: its tokenizer and sizes, and images as the tokenizer takes them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from seitpp.benchmarking.synthetic import make_images, make_store
from seitpp.engine.stores import use_stores
from seitpp.storage import StoreWriter
from seitpp.tokenizers import BlockDCT, PatchKMeans
from seitpp.tokenizers.base import Tokenizer

DIGITS, PHOTOS = "tokenadapt_d64_1xb64-40e_digits-8px", "tokenadapt_d128_1xb32-60e_photos-32px"
IMAGENET, PAIRS = "tokenadapt_d384_1xb128-1e_in1k-256px", "tokenadapt_d384_1xb128-1e_in1k-token-pairs"


def store_of(tokenizer: Tokenizer, path: Path) -> Path:
    codebook = None if tokenizer.codebook is None else tokenizer.codebook.numpy()
    options = dict(codebook=codebook, channels=tokenizer.channels, minimum=tokenizer.minimum)
    with StoreWriter(
        path, codebook_size=tokenizer.codebook_size, grid=tokenizer.grid, tokenizer=tokenizer.describe(), **options
    ) as writer:
        writer.append(np.zeros((1, *tokenizer.sample_shape), np.int32))
    return path


def kmeans(path: Path, size: tuple[int, int] = (24, 16), **options: object) -> Path:
    codebook = torch.rand(20, 4 * options.get("in_channels", 3), generator=torch.manual_seed(0))
    return store_of(PatchKMeans(image_size=size, patch_size=2, codebook=codebook, **options), path)


def test_token_adapt_learns_the_tokens_of_a_store(
    load: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> None:
    cfg = load(DIGITS)  # of 4 x 4 codes of grey images, which no step of the pipeline resizes
    (note,) = use_stores(cfg, kmeans(tmp_path / "store"))
    assert "12 x 8, of which 10 x 8 are kept, of images of 24 x 16 pixels" in note
    for name in ("train", "val"):
        make_images(tmp_path / "images" / name, 4, 40)
        cfg[f"{name}_dataloader"].dataset.data_root = str(tmp_path / "images")
    cfg.merge_from_dict(
        {"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1, "train_dataloader.batch_size": 4, "work_dir": tmp_path}
    )
    runner = build_runner(cfg)
    runner.train()
    network = runner.model.token_adapt
    assert (network.grid, network.out_grid, network.codebook_size, network.code_dim) == ((12, 8), (10, 8), 20, 12)
    assert type(runner.model.tokenizer()) is PatchKMeans
    assert any("flip" in name for name in runner.message_hub.log_scalars)


def test_every_chain_ends_at_the_same_size(load: Callable, tmp_path: Path) -> None:
    cfg = load(DIGITS)
    use_stores(cfg, kmeans(tmp_path / "store"))
    chains = [cfg.model.augments, *cfg.model.eval_augments.values()]
    assert [[part["size"] for part in chain if "size" in part] for chain in chains] == [[(20, 16)]] * 5
    assert cfg.model.eval_augments.flip[-1].type == "seitpp.BatchCenterCrop"  # which the recipe's own grid needs not


def test_recipes_own_grid_keeps_the_recipes_part_of_it(load: Callable, tmp_path: Path) -> None:
    cfg = load(PHOTOS)
    use_stores(cfg, kmeans(tmp_path / "store", (16, 16)))
    assert (cfg.model.token_adapt.grid, cfg.model.token_adapt.out_grid) == ((8, 8), (6, 6))


def test_images_are_resized_as_the_tokenizer_does(load: Callable, tmp_path: Path) -> None:
    cfg = load(IMAGENET)
    use_stores(cfg, kmeans(tmp_path / "exact"))
    loading, resize, _ = cfg.train_dataloader.dataset.pipeline
    assert (loading.color_type, resize.scale) == ("color", (16, 24))  # width and height
    use_stores(cfg, store_of(BlockDCT(image_size=(24, 16), resize_mode="center-crop"), tmp_path / "centre"))
    loading, edge, crop, _ = cfg.val_dataloader.dataset.pipeline
    assert (edge.scale, edge.edge, crop.crop_size) == (24, "short", (16, 24))


def test_images_get_the_tokenizers_channels(load: Callable, tmp_path: Path) -> None:
    cfg = load(IMAGENET)
    use_stores(cfg, kmeans(tmp_path / "grey", in_channels=1))
    assert cfg.val_dataloader.dataset.pipeline[0].color_type == "grayscale"
    assert (cfg.data_preprocessor["mean"], cfg.data_preprocessor["std"]) == ([0.0], [255.0])
    assert cfg.data_preprocessor.to_rgb is False


def test_random_crops_of_images_get_the_size(load: Callable, tmp_path: Path) -> None:
    cfg = load(PHOTOS)
    use_stores(cfg, kmeans(tmp_path / "store"))
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps["mmpretrain.RandomCrop"].crop_size == (24, 16)
    steps = {step.type: step for step in cfg.val_dataloader.dataset.pipeline}
    assert steps["mmpretrain.CenterCrop"].crop_size == (16, 24)  # which mmcv has the other way round


def test_coefficients_are_regressed(load: Callable, tmp_path: Path) -> None:
    cfg = load(IMAGENET)
    use_stores(
        cfg, store_of(BlockDCT(image_size=32, quality=50, luma_coefficients=3, chroma_coefficients=1), tmp_path / "d")
    )
    assert (cfg.model.token_adapt.codebook_size, cfg.model.token_adapt.code_dim) == (None, 5)
    assert cfg.model.tokenizer == str(tmp_path / "d")


def test_stored_pairs_stay_where_they_are(load: Callable, tmp_path: Path) -> None:
    cfg = load(PAIRS)
    (note,) = use_stores(cfg, kmeans(tmp_path / "store"))
    assert "train_dataloader.dataset.store and val_dataloader.dataset.data_root" in note
    assert cfg.train_dataloader.dataset.store == "data/in1k-token-pairs"


def test_store_that_does_not_describe_its_tokenizer(load: Callable, tmp_path: Path) -> None:
    cfg = load(DIGITS)
    (note,) = use_stores(cfg, make_store(tmp_path / "same", grid=(4, 4), codebook_size=64, code_dim=4))
    assert "the config's seitpp.PatchKMeans is kept" in note and cfg.model.tokenizer.type == "seitpp.PatchKMeans"
    with pytest.raises(ValueError, match="other does not describe its tokenizer, without which no images become its"):
        use_stores(cfg, make_store(tmp_path / "other", grid=(6, 4), codebook_size=64, code_dim=4))
