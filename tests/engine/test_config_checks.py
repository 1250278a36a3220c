"""Configs that name what is not installed."""

import pytest
from mmengine.config import Config

from seitpp.engine import config_checks


@pytest.mark.parametrize(("name", "package"), [("TensorboardVisBackend", "tensorboard"), ("WandbVisBackend", "wandb")])
def test_a_backend_without_its_package_names_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    config = Config({"visualizer": {"vis_backends": [{"type": "LocalVisBackend"}, {"type": f"mmengine.{name}"}]}})
    monkeypatch.setattr(config_checks, "find_spec", lambda package: None)
    with pytest.raises(
        ValueError, match=rf"{name}, which needs the package {package}; .*pip install -e \.\[optional\]"
    ):
        config_checks.check_visualizer(config)
    monkeypatch.setattr(config_checks, "find_spec", lambda found: found == package)
    config_checks.check_visualizer(config)


def test_configs_without_backends_need_nothing() -> None:
    config_checks.check_visualizer(Config({}))
    config_checks.check_visualizer(Config({"visualizer": {"vis_backends": None}}))
