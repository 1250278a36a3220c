"""`shrink` and `with_synthetic_data` where a config nests files of augmentations; tests/test_configs.py runs leaves."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from seitpp.registry import MODELS
from seitpp.testing import shrink, with_synthetic_data
from seitpp.transform_tree import walk

MTM, FINETUNE = (
    "mtm_vit-base-p16_8xb512-400e_in1k-tokens",
    "seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens",
)


@pytest.fixture
def assembled(repository: Path) -> Callable[[str], Config]:
    """The recipe that a file of augmentations is for, with these augmentations."""

    def assemble(name: str) -> Config:
        cfg = Config.fromfile(repository / "configs" / "seitpp" / f"{MTM if name == 'mtm_release' else FINETUNE}.py")
        part = Config.fromfile(repository / "configs" / "_base_" / "augments" / f"{name}.py")
        cfg.data_preprocessor.augments = part.augments
        cfg.data_preprocessor.num_classes = None if name == "mtm_release" else 1000
        return cfg

    return assemble


@pytest.mark.parametrize("name", ["mtm_release", "mtm_finetune", "seit", "seitpp"])
def test_files_of_nested_augmentations_are_made(
    assembled: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner], name: str
) -> None:
    runner = build_runner(shrink(assembled(name), tmp_path, epochs=1))
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    files = [getattr(transform, "checkpoint", None) for transform in walk(runner.model.data_preprocessor.augments)]
    files += [getattr(transform, "synonyms", None) for transform in walk(runner.model.data_preprocessor.augments)]
    paths = [Path(file) for file in files if file is not None]
    assert len(paths) == {"mtm_release": 1, "mtm_finetune": 1, "seit": 1, "seitpp": 2}[name]
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_synthetic_synonyms_do_not_need_a_shrunken_config(assembled: Callable, tmp_path: Path) -> None:
    cfg = with_synthetic_data(assembled("seit"), tmp_path)
    preprocessor = MODELS.build(cfg.data_preprocessor)
    preprocessor.prepare_training({}, "the synthetic tokens")


def test_grid_and_crops_of_stored_tokens_stay(assembled: Callable, tmp_path: Path) -> None:
    (split,) = shrink(assembled("mtm_release"), tmp_path).data_preprocessor.augments
    (augment,) = split.second
    assert (augment.token_adapt.grid, augment.token_adapt.out_grid, augment.augments[-1]["size"]) == (32, 28, 56)


def test_tokenizer_grid_and_crops_shrink_together(repository: Path, tmp_path: Path) -> None:
    leaf = repository / "configs" / "tokenadapt" / "tokenadapt_d384_1xb128-1e_in1k-256px.py"
    model = shrink(Config.fromfile(leaf), tmp_path).model
    assert (model.token_adapt.grid, model.token_adapt.out_grid) == ((4, 4), (3, 3))
    assert {augment["size"] for augment in model.augments if "size" in augment} == {(6, 6)}
    assert model.tokenizer.codebook_size == model.token_adapt.codebook_size == 16
