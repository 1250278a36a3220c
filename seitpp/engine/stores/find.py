"""Which stores the options `--store` and `--val-store` name: stores, or the folder that holds those of all splits."""

import argparse
from pathlib import Path
from typing import Literal

from mmengine.config import Config

from seitpp.io.config_file import dicts_in, type_name
from seitpp.storage.header import HEADER_FILE

TOKEN_DATASETS = ("TokenDataset", "TokenSegDataset")
_TRAIN = ("train", "training")
_VAL = ("val", "validation", "valid", "test", "testing")
_STAGES = {
    "val": (
        "validation reads",
        "add --val-store VAL_STORE, give the folder that holds train/ and val/ as --store, or add --no-validate",
    ),
    "test": ("the test reads", "name a store of your own with --store, or make it (docs/data.md)"),
}
_PAIRS_FILE = "pairs.json"


def add_store_arguments(parser: argparse.ArgumentParser, val: bool = True) -> None:
    """Add `--store` and, for tools that validate, `--val-store`."""
    what = "train on this token store" if val else "test on this token store"
    parser.add_argument(
        "--store", help=f"{what}, or the folder of train/ and val/; the config's sizes follow its header"
    )
    if val:
        parser.add_argument("--val-store", help="(with --store) validate on this one")


def find_stores(store: str | None, val_store: str | None = None) -> tuple[str | None, str | None]:
    """Return the stores for training and for validation that options name; None for one that they do not.

    A folder with the stores of several splits, as `tools/tokenize_images.py --split train val` writes it, stands for
    both.

    Raises:
        ValueError: There is only one for validation, or the folder holds other stores than expected.
    """
    if store is None:
        if val_store is not None:
            raise ValueError(
                f"--val-store {val_store} alone: a config takes its sizes from the store that it trains on. Add "
                "--store TRAIN_STORE, or give the folder that holds train/ and val/ as --store"
            )
        return None, None
    train, val = _split_of(store, _TRAIN, "train"), val_store
    if val_store is not None:
        val = _split_of(val_store, _VAL, "val")
    elif train != store:  # a folder of both
        val = next((str(Path(store, name)) for name in _VAL if _is_store(Path(store, name))), None)
    return train, val


def find_test_stores(store: str | None) -> tuple[str | None, str | None]:
    """Return the stores for training and for testing that `--store` of a test names: mostly one and the same.

    Of a folder with the stores of several splits the validation store is tested; nearest neighbours vote from the
    training store.
    """
    if store is None:
        return None, None
    tested = _split_of(store, _VAL, "val")
    others = [str(Path(store, name)) for name in _TRAIN if tested != store and _is_store(Path(store, name))]
    return (others or [tested])[0], tested


def check_store_exists(config: Config, stage: Literal["val", "test"]) -> None:
    """Refuse data that the config names and that are not there, as after `--store` of another store alone."""
    for dataset in dicts_in((config.get(f"{stage}_dataloader") or {}).get("dataset")):
        path = Path(dataset.get("data_root") or "", dataset.get("store") or "")
        if type_name(dataset) in TOKEN_DATASETS and not path.exists():
            raise ValueError(f"{_STAGES[stage][0]} {path}, which the config names and which does not exist; "
                             f"{_STAGES[stage][1]}")  # fmt: skip


def _is_store(path: Path) -> bool:
    return (path / HEADER_FILE).is_file()


def _split_of(path: str, names: tuple[str, ...], kind: str) -> str:
    """Return a path as it is, or the store in it that has one of these names, if it is a folder of stores."""
    folder = Path(path)
    if (folder / _PAIRS_FILE).is_file():
        raise ValueError(
            f"{path} holds token pairs and is no token store; give the store whose tokenizer made them, and the pairs "
            f"with --cfg-options train_dataloader.dataset.store={path}"
        )
    if _is_store(folder) or not folder.is_dir():
        return path
    stores = sorted(entry.name for entry in folder.iterdir() if _is_store(entry))
    for name in names:
        if name in stores:
            return str(folder / name)
    if stores:
        raise ValueError(
            f"{path} holds the token stores {', '.join(stores)} and none called {kind}; name the store itself, such as "
            f"{folder / stores[0]}"
        )
    nested = (entry for entry in sorted(folder.iterdir()) if any(_is_store(entry / name) for name in names))
    if (meant := next(nested, None)) is not None:
        raise ValueError(f"{path} holds no token store; did you mean {meant}?")
    return path
