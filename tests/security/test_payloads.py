"""The payloads fire where nothing stops them; otherwise no test that they are refused would say anything."""

import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch


def fire(payloads: ModuleType, name: str, marker: Path) -> None:
    expression = payloads.PICKLES[name](marker)
    try:
        pickle.loads(payloads.plain_pickle(expression, 2))  # also Python 2's names
    except pickle.UnpicklingError:
        pickle.loads(payloads.plain_pickle(expression, 4))


def test_every_pickle_fires(payloads: ModuleType, tmp_path: Path) -> None:
    for name in payloads.PICKLES:
        marker = tmp_path / name
        fire(payloads, name, marker)
        assert marker.exists(), name


def test_every_container_fires(payloads: ModuleType, tmp_path: Path) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "npy": lambda path: np.load(path, allow_pickle=True),
        "npz": lambda path: np.load(path, allow_pickle=True)["facts"],
        "joblib": lambda path: pickle.loads(zlib.decompress(path.read_bytes())),
    }
    for container, make in payloads.CONTAINERS.items():
        marker, path = tmp_path / container, tmp_path / f"{container}.file"
        path.write_bytes(make({"weights": payloads.PLACE}, payloads.PICKLES["exec"](marker)))
        read = readers.get(container, lambda path: torch.load(path, weights_only=False))
        if container.startswith("pickle"):  # torch runs it before it finds that it is no file of torch
            with pytest.raises(RuntimeError, match="Invalid magic number"):
                read(path)
        else:
            read(path)
        assert marker.exists(), container


def test_an_allowed_getattr_is_enough_to_run_code(payloads: ModuleType, hostile: Callable, marker: Path) -> None:
    path = hostile("attributes-of-allowed-names")
    with torch.serialization.safe_globals([getattr]):
        torch.load(path, weights_only=True)
    assert marker.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torch_script_fires(payloads: ModuleType, tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "scripted.pt"
    path.write_bytes(payloads.torch_script(marker))
    assert not marker.exists()
    torch.jit.load(path)
    assert marker.exists()
