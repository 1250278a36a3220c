"""`--fraction`, `--images`, `--label-fraction`: which images, how many iterations, which encoder, which work folder."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from seitpp.benchmarking.synthetic import make_store
from seitpp.engine import launch
from seitpp.engine.subset_options import add_subset_arguments
from seitpp.registry import DATASETS

MTM = "mtm_vit-base-p16_{}8xb512-400e_in1k-tokens"
SEIT, SEITPP = "seit_vit-base-p16_8xb128-300e_in1k-tokens", "seitpp_vit-base-p16_8xb128-300e_in1k-tokens"
SEIT_MTM, FINETUNE = (f"{name}_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens" for name in ("seit", "seitpp"))
IN100 = "seitpp_vit-small-p16_8xb128-300e_in100-tokens"
TOKEN_ADAPT = "tokenadapt_d384_1xb128-1e_in1k-256px"
LINEAR = "linear_mtm_vit-base-p16_8xb128-90e_in1k-tokens"
DIGITS = "linear_mtm_vit-tiny-p2_1xb64-90e_digits-tokens"


@pytest.fixture
def load(repository: Path) -> Callable[..., Config]:
    """Reads a config, by name or path, with options of tools/train.py."""

    def read(name: str | Path, *options: str) -> Config:
        parser = argparse.ArgumentParser()
        parser.add_argument("config")
        parser.add_argument("--token-adapt")
        add_subset_arguments(parser)
        launch.add_common_arguments(parser)
        path = name if isinstance(name, Path) else next((repository / "configs").rglob(f"{name}.py"))
        return launch.load_config(parser.parse_args([str(path), *options]))

    return read


@pytest.mark.parametrize("share", [80, 60, 40, 20, 10])
@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("mtm_vitb", None),
        (MTM.format(""), None),
        (MTM.format("seit-aug_"), None),
        (SEIT, None),
        (SEITPP, None),
        (IN100, None),
        (SEIT_MTM, MTM.format("seit-aug_")),
        (FINETUNE, MTM.format("")),
    ],
)
def test_storage_limited_recipe_differs_in_its_images_alone(
    load: Callable, name: str, encoder: str | None, share: int
) -> None:
    """Tables 2 and 6 of the paper: "randomly sampling", with as many iterations."""
    whole, part = load(name), load(name, "--fraction", str(share / 100))
    dataset = part.train_dataloader.dataset
    drawn = {"fraction": share / 100, "class_balanced": False}
    assert (dataset.pop("subset"), dataset.pop("keep_length")) == (drawn, True)
    assert part.pop("work_dir") == f"work_dirs/{name}-{share}pct" == f"{whole.pop('work_dir')}-{share}pct"
    if encoder is not None:  # from MTM on the same images
        assert whole.model.backbone.init_cfg.pop("checkpoint")
        start = part.model.backbone.init_cfg.pop("checkpoint")
        assert start == f"work_dirs/{encoder}-{share}pct/epoch_400.pth"
    assert whole._cfg_dict == part._cfg_dict


@pytest.mark.parametrize(("images", "suffix"), [(100, "100img"), (1000, "1kimg"), (5000, "5kimg"), (256000, "256kimg")])
def test_token_adapt_from_fewer_images(load: Callable, images: int, suffix: str) -> None:
    """Table A of the paper."""
    whole, part = load(TOKEN_ADAPT), load(TOKEN_ADAPT, "--images", str(images))
    assert part.pop("work_dir") == f"work_dirs/{TOKEN_ADAPT}-{suffix}" == f"{whole.pop('work_dir')}-{suffix}"
    dataset = part.train_dataloader.pop("dataset")
    assert dataset.pop("dataset") == whole.train_dataloader.pop("dataset")
    assert dataset == {"type": "seitpp.SubsetDataset", "count": images, "keep_length": True}
    assert whole._cfg_dict == part._cfg_dict


def test_number_of_images_of_a_store(load: Callable) -> None:
    dataset = load(SEIT, "--images", "640500").train_dataloader.dataset
    assert (dataset.subset, dataset.keep_length) == ({"count": 640500, "class_balanced": False}, True)


def test_classifier_with_another_token_adapt(load: Callable) -> None:
    file = f"work_dirs/{TOKEN_ADAPT}-100img/epoch_1.pth"
    whole, other = load(SEITPP), load(SEITPP, "--token-adapt", file)
    (adapt,), (other_adapt,) = (config.data_preprocessor.augments[1].second for config in (whole, other))
    assert (adapt.pop("checkpoint"), other_adapt.pop("checkpoint")) == (f"work_dirs/{TOKEN_ADAPT}/epoch_1.pth", file)
    assert whole._cfg_dict == other._cfg_dict


def test_no_token_adapt_to_replace(load: Callable) -> None:
    with pytest.raises(ValueError, match=r"--token-adapt a\.pth: .*_in1k-tokens\.py augments without TokenAdapt"):
        load(SEIT, "--token-adapt", "a.pth")


@pytest.mark.parametrize("percent", [1, 10])
@pytest.mark.parametrize("name", [LINEAR, FINETUNE])
def test_few_labels_are_balanced_and_fill_batches(load: Callable, tmp_path: Path, name: str, percent: int) -> None:
    whole, few = load(name), load(name, "--label-fraction", str(percent / 100))
    dataset = few.train_dataloader.dataset
    path = make_store(tmp_path / "store", num_samples=2000, grid=(2, 2), num_classes=5)
    chosen = DATASETS.build({**dataset, "data_root": "", "store": str(path), "codebook_size": None})
    assert torch.tensor(chosen.labels).bincount().tolist() == [4 * percent] * 5
    assert dataset.pop("subset") == {"fraction": percent / 100, "class_balanced": True}
    assert round(1_281_167 * percent / 100) > 8 * few.train_dataloader.batch_size
    assert few.pop("work_dir") == f"{whole.pop('work_dir')}-{percent}pct-labels"
    assert few._cfg_dict == whole._cfg_dict  # from the same encoder, which may have seen all images


def test_few_labels_with_as_many_steps(load: Callable, tmp_path: Path) -> None:
    options = ("--label-fraction", "0.1", "--cfg-options", "train_dataloader.dataset.keep_length=True")
    dataset = load(DIGITS, *options).train_dataloader.dataset
    path = make_store(tmp_path / "store", num_samples=200, grid=(2, 2), num_classes=10)
    few = DATASETS.build({**dataset, "data_root": "", "store": str(path)})
    assert (len(few), len(few.labels)) == (200, 20)


def test_options_of_the_command_line_win(load: Callable) -> None:
    options = ("train_dataloader.dataset.subset.seed=1", "model.backbone.init_cfg.checkpoint=mine.pth")
    config = load(FINETUNE, "--fraction", "0.2", "--work-dir", "there", "--cfg-options", *options)
    assert config.train_dataloader.dataset.subset == {"fraction": 0.2, "class_balanced": False, "seed": 1}
    assert (config.model.backbone.init_cfg.checkpoint, config.work_dir) == ("mine.pth", "there")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (SEIT, ["--fraction", "1.5"], r"--fraction 1\.5: expected a share of the images in \(0, 1\]"),
        (SEIT, ["--fraction", "nan"], r"--fraction nan: expected a share"),
        (SEIT, ["--images", "0"], "--images 0: expected a number of images from 1 on"),
        ("knn_mtm_vit-tiny-p2_digits-tokens", ["--fraction", "0.1"], "--fraction chooses .*-tokens.py trains nothing"),
        (TOKEN_ADAPT, ["--label-fraction", "0.1"], "--label-fraction needs the labels of a seitpp.TokenDataset"),
    ],
)
def test_part_that_cannot_be_chosen(load: Callable, name: str, options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name, *options)


def test_subset_of_a_config_is_not_cut_again(load: Callable, repository: Path, tmp_path: Path) -> None:
    path = next((repository / "configs").rglob(f"{SEIT}.py"))
    text = f'_base_ = "{path}"\ntrain_dataloader = dict(dataset=dict(subset=dict(budget_bytes=1e9)))\n'
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=r"train_dataloader\.dataset of .*mine\.py is a subset already"):
        load(tmp_path / "mine.py", "--fraction", "0.1")


@pytest.mark.parametrize(
    ("wrapper", "inner", "message"),
    [
        ("Concat", "dict(type='seitpp.SubsetDataset', fraction=0.5, dataset={})", "is a subset already"),
        ("Repeat", "{}", "is a seitpp.RepeatDataset, which repeats images"),
    ],
)
def test_wrapped_data_set(
    load: Callable, repository: Path, tmp_path: Path, wrapper: str, inner: str, message: str
) -> None:
    path = next((repository / "configs").rglob(f"{SEIT}.py"))
    inner = inner.format("dict(type='seitpp.TokenDataset', store='s')")
    inner = f"datasets=[{inner}]" if wrapper == "Concat" else f"times=5, dataset={inner}"
    dataset = f"dict(_delete_=True, type='seitpp.{wrapper}Dataset', {inner})"
    (tmp_path / "mine.py").write_text(f'_base_ = "{path}"\ntrain_dataloader = dict(dataset={dataset})\n')
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "mine.py", "--fraction", "0.1")


def test_work_folder_of_a_config_gets_the_suffix(load: Callable, repository: Path, tmp_path: Path) -> None:
    path = next((repository / "configs").rglob(f"{SEIT}.py"))
    (tmp_path / "mine.py").write_text(f'_base_ = "{path}"\nwork_dir = "there"\n')
    assert load(tmp_path / "mine.py", "--fraction", "0.1").work_dir == "there-10pct"
    assert load(tmp_path / "mine.py").work_dir == "there"
    assert load(tmp_path / "mine.py", "--fraction", "0.1", "--cfg-options", "work_dir=here").work_dir == "here"
