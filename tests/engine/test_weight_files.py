"""Checkpoints that a config starts from: found under the long and the short name of the recipe that makes them."""

from pathlib import Path

import pytest
from mmengine.config import Config

from seitpp.engine.weight_files import find_checkpoints, full_name

LONG = "mtm_vit-base-p16_8xb512-400e_in1k-tokens"


def config_from(checkpoint: Path | str) -> Config:
    init = {"type": "Pretrained", "checkpoint": str(checkpoint), "prefix": "backbone."}
    return Config({"model": {"type": "mmpretrain.ImageClassifier", "backbone": {"init_cfg": init}}})


def start_of(config: Config) -> str:
    return config.model.backbone.init_cfg.checkpoint


@pytest.mark.parametrize("suffix", ["", "-20pct"])
@pytest.mark.parametrize(("stated", "trained"), [(LONG, "mtm_vitb"), ("mtm_vitb", LONG)])
def test_other_name_of_the_recipe_is_found(tmp_path: Path, stated: str, trained: str, suffix: str) -> None:
    there = tmp_path / (trained + suffix) / "epoch_400.pth"
    there.parent.mkdir()
    there.touch()
    config = config_from(tmp_path / (stated + suffix) / "epoch_400.pth")
    find_checkpoints(config)
    assert start_of(config) == str(there)


def test_stated_name_comes_first(tmp_path: Path) -> None:
    for name in (LONG, "mtm_vitb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "epoch_400.pth").touch()
    config = config_from(tmp_path / LONG / "epoch_400.pth")
    find_checkpoints(config)
    assert start_of(config) == str(tmp_path / LONG / "epoch_400.pth")


@pytest.mark.parametrize("checkpoint", ["work_dirs/mtm_vitb/epoch_400.pth", "mine.pth", "https://there/vgg.pth"])
def test_what_is_nowhere_stays_as_stated(checkpoint: str) -> None:
    config = config_from(checkpoint)
    find_checkpoints(config)
    assert start_of(config) == checkpoint


def test_names_that_only_begin_alike_are_others() -> None:
    assert full_name("mtm_vitb2") == "mtm_vitb2"
    assert full_name("mtm_vitb-20pct") == f"{LONG}-20pct"
