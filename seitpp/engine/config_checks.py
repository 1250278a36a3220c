"""Checks of a config before anything is built of it: its parts, numbers and names."""

import logging
import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, OPTIMIZERS

from seitpp import registry
from seitpp.io.text import did_you_mean, nearest_names, shown

_PARTS = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}
# Packages that backends of visualizers need, one of each, among the optional requirements.
_PACKAGES = {"TensorboardVisBackend": ("tensorboard", "tensorboardX"), "WandbVisBackend": ("wandb",)}
# Whole numbers by their dotted key, with the least that each may be.
_WHOLE = {
    "train_dataloader.batch_size": 1,
    "train_dataloader.num_workers": 0,
    "val_dataloader.batch_size": 1,
    "val_dataloader.num_workers": 0,
    "test_dataloader.batch_size": 1,
    "test_dataloader.num_workers": 0,
    "train_cfg.max_epochs": 1,
    "train_cfg.max_iters": 1,
    "train_cfg.val_interval": 1,
    "train_cfg.val_begin": 0,
    "optim_wrapper.accumulative_counts": 1,
    "auto_scale_lr.base_batch_size": 1,
    "default_hooks.logger.interval": 1,
    "default_hooks.checkpoint.interval": -1,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
    "randomness.seed": 0,
}
# Other numbers: finite, not negative.
_NUMBERS = ("optim_wrapper.optimizer.lr", "optim_wrapper.optimizer.weight_decay", "param_scheduler.warmup")


def check_model(config: Config) -> None:
    """Refuse a config without a model."""
    model = config.get("model")
    if not isinstance(model, Mapping) or "type" not in model:
        kind = "is that of a tokenizer" if "tokenizer" in config else "has no model"
        raise ValueError(
            f"{config.filename or 'the config'} {kind}; expected a config of a run, such as those of configs/seitpp/"
        )


def check_run(config: Config, stage: Literal["train", "test"]) -> None:
    """Refuse a config that lacks what training or testing needs, or has impossible numbers."""
    check_model(config)
    name = config.filename or "the config"
    for part in _PARTS[stage]:
        if not config.get(part) and config.get(part) != {}:
            raise ValueError(f"{name} has no {part}, so there is nothing to {stage} with it")
    for key, least in _WHOLE.items():
        value = _at(config, key)
        if value is not None and (type(value) is not int or value < least):
            raise ValueError(f"{key} is {shown(value)}, expected a whole number from {least} on")
    for key in _NUMBERS:
        value = _at(config, key)
        if value is not None and not _is_share(value):
            raise ValueError(f"{key} is {shown(value)}, expected a number that is not negative")
    _check_names(config)
    check_visualizer(config)


def _at(config: Config, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, (Mapping, Config)) else None
    return node


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _check_names(config: Config) -> None:
    """Refuse names that mmengine looks up with an error that does not say what they are."""
    level = config.get("log_level", "INFO")
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        raise ValueError(f"log_level is {level!r}, expected DEBUG, INFO, WARNING or ERROR")
    optimizer = _at(config, "optim_wrapper.optimizer.type")
    if isinstance(optimizer, str) and "." not in optimizer and OPTIMIZERS.get(optimizer) is None:
        raise ValueError(
            f"optim_wrapper.optimizer.type is {optimizer!r}, which is no registered optimizer"
            f"{did_you_mean(nearest_names(optimizer, OPTIMIZERS.module_dict))}"
        )
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for key in ("collate_fn", "worker_init_fn"):
            name = _at(config, f"{loader}.{key}.type")
            if isinstance(name, str) and FUNCTIONS.get(name) is None:
                registry.FUNCTIONS.import_from_location()
                meant = did_you_mean(f"seitpp.{one}" for one in nearest_names(name, registry.FUNCTIONS.module_dict))
                raise ValueError(f"{loader}.{key}.type is {name!r}, which is no registered function{meant}")


def check_visualizer(config: Config) -> None:
    """Refuse a visualizer whose backend needs a package that is not installed, and say how to install it."""
    for backend in (config.get("visualizer") or {}).get("vis_backends") or []:
        name = name_and_scope(backend)[0]
        packages = _PACKAGES.get(name, ())
        if packages and not any(find_spec(package) for package in packages):
            raise ValueError(
                f"visualizer.vis_backends has a {name}, which needs the package {packages[0]}; install it with "
                f"`pip install -e .[optional]` in the folder of this repository, or `pip install {packages[0]}`"
            )


def name_and_scope(part: Any) -> tuple[str, str]:
    """Return name and package of the class of a part of a config, whose type is text or the class itself."""
    kind = part.get("type", "") if isinstance(part, dict) else ""
    path = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
    return path.split(".")[-1], path.split(".")[0] if "." in path else ""
