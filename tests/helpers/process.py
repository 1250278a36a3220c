"""What one test leaves behind in the process, and the next must not find."""

from collections.abc import Iterator

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

# What the tools set for their process, and launchers for their ranks.
_PROCESS_VARIABLES = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "LOCAL_RANK", "RANK", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variables of the tools, no default scope and no open log files of an earlier test."""
    for name in _PROCESS_VARIABLES:
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it
        monkeypatch.delenv(name)
    yield
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            if hasattr(handler, "baseFilename"):
                handler.close()
                logger.removeHandler(handler)
    DefaultScope._instance_dict.clear()
