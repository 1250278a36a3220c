"""`shrink` and `with_synthetic_data` where a config nests files of augmentations; tests/test_configs.py runs leaves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import use_random_networks, with_synthetic_data
from seitpp.registry import MODELS
from seitpp.structures.transform_tree import walk

MTM, FINETUNE = (
    "mtm_vit-base-p16_8xb512-400e_in1k-tokens",
    "seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens",
)


@pytest.fixture
def assembled(repository: Path) -> Callable[[str], Config]:
    """The recipe that a file of augmentations is for, with these augmentations."""

    def assemble(name: str) -> Config:
        cfg = Config.fromfile(next((repository / "configs").rglob(f"{MTM if name == 'mtm_release' else FINETUNE}.py")))
        part = Config.fromfile(repository / "configs" / "_base_" / "augments" / f"{name}.py")
        cfg.data_preprocessor.augments = part.augments
        cfg.data_preprocessor.num_classes = None if name == "mtm_release" else 1000
        return cfg

    return assemble


@pytest.mark.parametrize(
    ("name", "count"), [("mtm_release", 1), ("mtm_finetune", 1), ("seit", 1), ("seitpp", 2)]
)  # tests/test_configs.py trains from such files
def test_files_of_nested_augmentations_are_made(assembled: Callable, tmp_path: Path, name: str, count: int) -> None:
    preprocessor = MODELS.build(shrink(assembled(name), tmp_path).data_preprocessor)
    transforms = list(walk(preprocessor.augments))
    files = [getattr(transform, key, None) for transform in transforms for key in ("checkpoint", "synonyms")]
    paths = [Path(file) for file in files if file is not None]
    assert len(paths) == count
    assert all(path.is_relative_to(tmp_path) and path.exists() for path in paths)


def test_tokenizer_of_pixels_has_the_codebook_of_the_data_and_is_kept_if_it_is_there(
    repository: Path, tmp_path: Path
) -> None:
    name = "seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens"
    cfg = shrink(Config.fromfile(next((repository / "configs").rglob(f"{name}.py"))), tmp_path)
    tokenizer = cfg.data_preprocessor.augments[1].second[0].tokenizer
    path = Path(tokenizer.checkpoint)
    assert path.is_relative_to(tmp_path)
    MODELS.build(cfg.data_preprocessor).prepare_training({"grid": [32, 32], "channels": None}, "the synthetic tokens")
    before = path.stat().st_mtime_ns
    use_random_networks(cfg, tmp_path, keep_existing=True)
    assert (tokenizer.checkpoint, path.stat().st_mtime_ns) == (str(path), before)
    path.unlink()
    use_random_networks(cfg, tmp_path, keep_existing=True)
    assert path.exists()


def test_synthetic_synonyms_do_not_need_a_shrunken_config(assembled: Callable, tmp_path: Path) -> None:
    cfg = with_synthetic_data(assembled("seit"), tmp_path)
    preprocessor = MODELS.build(cfg.data_preprocessor)
    preprocessor.prepare_training({}, "the synthetic tokens")


def test_grid_and_crops_of_stored_tokens_stay(assembled: Callable, tmp_path: Path) -> None:
    (split,) = shrink(assembled("mtm_release"), tmp_path).data_preprocessor.augments
    (augment,) = split.second
    assert (augment.token_adapt.out_grid, augment.augments[-1]["size"]) == (28, 56)


def test_tokenizer_grid_and_crops_shrink_together(repository: Path, tmp_path: Path) -> None:
    leaf = repository / "configs" / "tokenadapt" / "tokenadapt_d384_1xb128-1e_in1k-256px.py"
    model = shrink(Config.fromfile(leaf), tmp_path).model
    assert (model.token_adapt.grid, model.token_adapt.out_grid) == ((4, 4), (3, 3))
    assert {augment["size"] for augment in model.augments if "size" in augment} == {(6, 6)}
    assert model.tokenizer.codebook_size == model.token_adapt.codebook_size == 16
