"""Files of weights that a config names: the encoder that it starts from, and TokenAdapt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from seitpp.io.config_file import dicts_in

# Short names of recipes, and with them of the work folders that they train in.
_FULL_NAMES = {"mtm_vitb": "mtm_vit-base-p16_8xb512-400e_in1k-tokens"}


def full_name(name: str) -> str:
    """Return the long name of a recipe, or of its work folder, which may end in `-20pct` and the like."""
    return _renamed(name, _FULL_NAMES)


def find_checkpoints(config: Config) -> None:
    """Find the checkpoints that a config starts from, whether the long or the short name of a recipe trained them."""
    for part in pretrained_parts(config.get("model")):
        path = Path(part.init_cfg.checkpoint)
        short = _renamed(path.parent.name, {full: short for short, full in _FULL_NAMES.items()})
        for name in (full_name(path.parent.name), short):
            found = path.parent.with_name(name) / path.name if path.parent.name else path
            if not path.exists() and found.exists():
                print_log(f"There is no {path}: starts from {found}, the same recipe by its other name.", "current")
                part.init_cfg.checkpoint = str(found)


def use_token_adapt(config: Config, checkpoint: str) -> None:
    """Let every TokenAdapt among a config's augmentations have the weights of this file.

    Raises:
        ValueError: There is none.
    """
    parts = [part for part in dicts_in(config.get("data_preprocessor")) if "token_adapt" in part]
    if not parts:
        raise ValueError(f"--token-adapt {checkpoint}: {config.filename} augments without TokenAdapt")
    for part in parts:
        part.checkpoint = checkpoint


def pretrained_parts(node: Any) -> Iterator[ConfigDict]:
    """Yield each part of a model's config whose `init_cfg` names a checkpoint."""
    for part in dicts_in(node):
        init = part.get("init_cfg")
        if isinstance(init, dict) and str(init.get("type")).endswith("Pretrained") and init.get("checkpoint"):
            yield part


def _renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if name == old or name.startswith(f"{old}-"):
            return new + name.removeprefix(old)
    return name
