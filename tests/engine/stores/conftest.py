"""What tests of recipes on stores share."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config


@pytest.fixture(scope="session")
def load(repository: Path) -> Callable[[str], Config]:
    """Loads a config by its name, once."""
    read = cache(lambda name: Config.fromfile(next((repository / "configs").rglob(f"{name}.py"))))
    return lambda name: copy.deepcopy(read(name))
