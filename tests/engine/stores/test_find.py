"""What `--store` and `--val-store` name: a store, or a folder with those of several splits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from seitpp.benchmarking.synthetic import make_store
from seitpp.engine.stores import check_store_exists, find_stores, find_test_stores


@pytest.fixture
def splits(tmp_path: Path) -> Callable[..., str]:
    def make(*names: str) -> str:
        for name in names:
            make_store(tmp_path / name, num_samples=1, grid=(2, 2))
        return str(tmp_path)

    return make


@pytest.mark.parametrize("names", [("train", "val"), ("training", "validation"), ("train", "test")])
def test_folder_of_both_splits_stands_for_both(splits: Callable, names: tuple[str, str]) -> None:
    folder = splits(*names)
    assert find_stores(folder) == tuple(f"{folder}/{name}" for name in names)
    assert find_test_stores(folder) == tuple(f"{folder}/{name}" for name in names)


def test_validation_of_another_folder(splits: Callable) -> None:
    folder = splits("train", "val", "test")
    assert find_stores(folder, f"{folder}/test") == (f"{folder}/train", f"{folder}/test")
    assert find_stores(f"{folder}/train", folder) == (f"{folder}/train", f"{folder}/val")
    assert find_stores(f"{folder}/train") == (f"{folder}/train", None)


def test_one_store_is_tested_with_its_own_sizes(splits: Callable) -> None:
    folder = splits("val")
    assert find_test_stores(folder) == find_test_stores(f"{folder}/val") == (f"{folder}/val",) * 2
    assert find_test_stores(None) == (None, None)


def test_validation_alone_brings_advice() -> None:
    assert find_stores(None) == (None, None)
    with pytest.raises(ValueError, match=r"--val-store data/val alone: .* Add --store TRAIN_STORE, or give the folder"):
        find_stores(None, "data/val")


def test_stores_of_other_names_are_listed(splits: Callable) -> None:
    folder = splits("a", "b")
    with pytest.raises(ValueError, match="holds the token stores a, b and none called train; name the store itself"):
        find_stores(folder)


def test_folder_above_those_of_splits(splits: Callable) -> None:
    folder = splits("mine/train")
    with pytest.raises(ValueError, match=r"holds no token store; did you mean .*/mine\?"):
        find_stores(folder)


def test_token_pairs_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text("{}")
    with pytest.raises(ValueError, match=r"token pairs .* --cfg-options train_dataloader.dataset.store="):
        find_stores(str(tmp_path))


def test_validation_on_what_is_not_there(tmp_path: Path) -> None:
    dataset = dict(type="seitpp.TokenDataset", data_root=f"{tmp_path}/", store="val")
    config = Config(dict(val_dataloader=dict(dataset=dataset), test_dataloader=dict(dataset=dataset)))
    with pytest.raises(ValueError, match=r"validation reads .*/val, .* add --val-store VAL_STORE, give the folder"):
        check_store_exists(config, "val")
    with pytest.raises(ValueError, match=r"the test reads .*/val, .* name a store of your own with --store"):
        check_store_exists(config, "test")
    make_store(tmp_path / "val", num_samples=1, grid=(2, 2))
    check_store_exists(config, "val")
    check_store_exists(Config(dict(val_dataloader=None)), "val")
