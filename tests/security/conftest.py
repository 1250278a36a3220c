"""What the tests of hostile files share: the payloads, and a small trained classifier with all its files."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from helpers.classifier import TrainedClassifier, make_trained_classifier, small_vitvqgan
from seitpp.io.checkpoint import load_checkpoint_file


def _by_path(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"security_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def payloads() -> ModuleType:
    """`payloads.py` beside this file."""
    return _by_path("payloads")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    """A classifier, its store, its images."""
    return make_trained_classifier(tmp_path_factory.mktemp("trained"), num_images=3)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    """The same with a tokenizer of networks, whose weights lie in a file."""
    folder = tmp_path_factory.mktemp("network")
    return make_trained_classifier(folder, small_vitvqgan(folder), num_images=3)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What a payload writes when it runs."""
    return tmp_path / "marker"


@pytest.fixture
def hostile(payloads: ModuleType, marker: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a file with a payload; by default a zip file of torch that holds it beside the classifier's weights."""

    def write(pickle: str, container: str = "zip", content: object = None, suffix: str = ".pth") -> Path:
        expression = payloads.PICKLES[pickle](marker)
        path = tmp_path / f"hostile{suffix}"
        path.write_bytes(payloads.CONTAINERS[container](payloads.PLACE if content is None else content, expression))
        return path

    return write


@pytest.fixture(scope="session")
def weights(trained: TrainedClassifier) -> dict[str, torch.Tensor]:
    """The classifier's."""
    return load_checkpoint_file(trained.checkpoint)["state_dict"]
