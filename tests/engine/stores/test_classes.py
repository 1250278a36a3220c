"""Segmentation on a store of one's own: heads, weights, names, label maps and windows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from seitpp.benchmarking.synthetic import make_codebook, make_seg_store, make_store
from seitpp.engine.stores import use_stores
from seitpp.storage import StoreWriter

TINY = "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens"
ADE = "upernet_vit-base-p16_mtm-400e-pre_8xb2-80k_ade20k-tokens-512px"
SIZES = dict(num_samples=4, grid=(6, 8), codebook_size=20, code_dim=6, num_classes=7)


def test_segmentor_trains_on_other_classes(
    load: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> None:
    cfg = load(TINY)
    notes = use_stores(cfg, make_seg_store(tmp_path / "t", **SIZES), make_seg_store(tmp_path / "v", seed=1, **SIZES))
    assert [note.split(",")[0] for note in notes[1:]] == [
        f"model.{head}: class_weight is left out" for head in ("decode_head", "auxiliary_head")
    ]
    cfg.merge_from_dict(
        {"train_cfg.max_iters": 1, "train_cfg.val_interval": 1, "train_dataloader.batch_size": 2, "work_dir": tmp_path}
    )
    runner = build_runner(cfg)
    runner.train()
    model = runner.model
    assert (model.decode_head.num_classes, model.auxiliary_head.num_classes) == (7, 7)
    assert model.decode_head.conv_seg.out_channels == 7 and model.backbone.patch_resolution == (6, 8)
    assert runner.val_dataloader.dataset.metainfo["classes"][-1] == "class-6"
    assert runner.message_hub.get_scalar("val/seg/mIoU").current() >= 0


def test_colours_and_names_of_another_set_are_left(load: Callable, tmp_path: Path) -> None:
    cfg = load(ADE)
    cfg.train_dataloader.dataset.metainfo = dict(classes=["a", "b"], palette=[[0, 0, 0]] * 2, kept=1)
    use_stores(cfg, make_seg_store(tmp_path / "t", **SIZES))
    dataset = cfg.train_dataloader.dataset
    assert dataset.preset is None and dataset.metainfo == dict(kept=1)
    (augment,) = cfg.data_preprocessor.augments
    assert augment.token_adapt.out_grid == (6, 8) and augment.augments[-1].size == (12, 16)  # nothing is cut off
    assert cfg.data_preprocessor.get("crop_size") is None


def test_weights_of_as_many_classes_stay(load: Callable, tmp_path: Path) -> None:
    cfg = load(TINY)
    notes = use_stores(cfg, make_seg_store(tmp_path / "t", **{**SIZES, "num_classes": 5}))
    assert len(notes) == 1 and len(cfg.model.decode_head.loss_decode.class_weight) == 5


def test_several_auxiliary_heads_and_sliding_windows(load: Callable, tmp_path: Path) -> None:
    cfg = load(ADE)
    cfg.model.auxiliary_head = [cfg.model.auxiliary_head, dict(cfg.model.auxiliary_head, in_index=1, out_channels=150)]
    cfg.model.test_cfg = dict(mode="slide", crop_size=(32, 4), stride=(16, 4))
    use_stores(cfg, make_seg_store(tmp_path / "t", **SIZES))
    assert [head.num_classes for head in cfg.model.auxiliary_head] == [7, 7]
    assert cfg.model.auxiliary_head[1].out_channels == 7
    assert cfg.model.test_cfg.crop_size == cfg.model.backbone.grid_size == (6, 4)
    assert cfg.model.test_cfg.stride == (6, 4)


def test_label_maps_get_the_size_of_the_images(load: Callable, tmp_path: Path) -> None:
    tokenizer = dict(name="any", image_size=[24, 32])
    cfg = load(ADE)
    cfg.val_dataloader.dataset.label_size = cfg.test_dataloader.dataset.label_size = (512, 512)
    notes = use_stores(
        cfg, make_seg_store(tmp_path / "t", tokenizer=tokenizer, **SIZES)
    )  # in the sizes of their images
    assert "keeps label maps in the sizes of their images: training brings them to 24 x 32" in notes[1]
    assert [cfg[f"{name}_dataloader"].dataset.label_size for name in ("train", "val")] == [(24, 32), (24, 32)]
    cfg = load(ADE)
    cfg.val_dataloader.dataset.label_size = (512, 512)
    use_stores(cfg, make_seg_store(tmp_path / "u", **SIZES))  # which does not tell: 8 pixels per token, as before
    assert cfg.val_dataloader.dataset.label_size == (48, 64) and "label_size" not in cfg.train_dataloader.dataset


def test_store_without_class_names(load: Callable, tmp_path: Path) -> None:
    options = dict(codebook_size=4, grid=(2, 2), tokenizer={}, codebook=make_codebook(4, 8))
    with StoreWriter(tmp_path / "t", label_kind="segmentation", **options) as writer:
        writer.append(np.zeros((1, 2, 2), int))
        (tmp_path / "t" / "labels").mkdir()
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "t" / "labels" / "00000000.png")
    cfg = load(ADE)
    _, note = use_stores(cfg, tmp_path / "t")
    assert "names no classes: those of the config stay, 150 of them" in note
    assert cfg.model.decode_head.num_classes == 150 and cfg.train_dataloader.dataset.preset == "ade20k"


def test_stores_that_cannot_be_segmented(load: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="t holds no label maps, from which segmentation learns; make it from images"):
        use_stores(load(TINY), make_store(tmp_path / "t", num_samples=1, grid=(4, 4)))
    with pytest.raises(ValueError, match="d holds 7 integers per position, and segmentation reads codes"):
        use_stores(load(TINY), make_store(tmp_path / "d", num_samples=1, grid=(4, 4), channels=7))
    with pytest.raises(
        ValueError, match=r"s holds label maps, and a classifier learns .* use a recipe of configs/segm"
    ):
        use_stores(load("seit_vit-tiny-p2_1xb64-60e_digits-tokens"), make_seg_store(tmp_path / "s", **SIZES))
