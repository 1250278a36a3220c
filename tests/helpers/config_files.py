"""Configs of tests as files."""

from pathlib import Path

from mmengine.config import Config


def dump_config(cfg: Config, path: Path) -> None:
    """Write a config as Python without mmengine's formatting, which takes longer than most tests."""
    Config(cfg.to_dict(), format_python_code=False).dump(path)
