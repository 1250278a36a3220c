"""Sizes of a model as those of the checkpoint that it is given, where the two configs differ.

A checkpoint keeps the config of its training. It is data of whoever made the file: numbers, flags and a few words for
modes are taken of it, into parts that the user's config has, and only up to what the checkpoint's own weights can
need. No class, no file and no part is taken of it, nor anything that only training knows.
"""

import logging
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor

from seitpp.engine.stores.classes import leave_out_topk
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.io.checkpoint_config import config_of_checkpoint
from seitpp.io.config_file import type_name
from seitpp.io.text import shorten, shown

GRID_KEYS = ("model.backbone.grid_size", "data_preprocessor.crop_size", "model.data_preprocessor.crop_size")
# Sizes of an encoder, whatever stands behind it.
_ENCODER = ("grid_size", "patch_size", "codebook_size", "code_dim", "in_channels", "arch", "embed_dims", "patch_cfg")
# Keys that one config may have and the other leave at its default.
_OPTIONAL = (
    *(*_ENCODER, "crop_size", "num_classes", "out_channels", "out_indices", "with_cls_token", "qkv_bias"),
    *("out_type", "final_norm", "output", "distance", "hide_before_stem"),
)
_MODES = ("out_type", "output", "distance", "arch", "input_transform")
_FRACTIONS = ("mlp_ratio", "rescales")  # the others are rates
# What training or a test chooses: no size, or a thing to be built or read.
_LEFT = re.compile(
    r"type|_.*|init_cfg|pretrained|checkpoint|augments|batch_augments|tokenizer|codebook|train_cfg|test_cfg|loss.*"
    r"|.*drop.*|.*_rate|.*prob|.*mask_ratio|frozen_stages|with_cp|topk|k|.*seed|non_blocking|with_data_samples|cal_acc"
    r"|.*momentum|.*weight.*|temperature|mean|std"
)
_ALIKE = {"MTMViT": "TokenViT"}  # the first is the second with a mask
_HEADS = ("head", "decode_head")
_MOST_ITEMS = 64


class _Change(NamedTuple):
    key: str  # dotted
    before: Any
    after: Any


def follow_checkpoint(
    config: Config, checkpoint: str | Path | Mapping[str, Any], keep: Collection[str] = ()
) -> list[str]:
    """Let model and data preprocessor of a config have the sizes that a checkpoint was trained with.

    Changes `config`, and logs in one line which keys differ. A checkpoint without a config, or with one that cannot be
    read, changes nothing.

    Args:
        config: The user's config.
        checkpoint: A file, of which no weights are read, or what `load_checkpoint_file` gave.
        keep: Dotted keys that stay as they are, such as those of `--cfg-options`. The grid's do where the config says
            that another one is meant (`default_hooks.data_guard.compare_grids=False`).

    Returns:
        The dotted keys that were changed.
    """
    is_loaded = isinstance(checkpoint, Mapping)
    if not is_loaded and not Path(checkpoint).expanduser().is_file():
        return []  # an address; what is missing is told when it is loaded
    content = checkpoint if is_loaded else load_checkpoint_file(Path(checkpoint).expanduser(), "meta")
    try:
        own = config_of_checkpoint(content) if isinstance(content, Mapping) else None
    except ValueError as error:
        print_log(f"The sizes in the checkpoint's own config are not read: {error}", "current", logging.WARNING)
        return []
    if own is None or not isinstance(own.get("model"), Mapping) or "token_adapt" in (config.get("model") or {}):
        return []
    guard = (config.get("default_hooks") or {}).get("data_guard") or {}
    keep = (*keep, *(GRID_KEYS if guard.get("compare_grids") is False else ()))
    changes = [change for change in _differences(config, own, _largest(content)) if not _is_kept(change.key, keep)]
    for change in changes:
        _set(config, change)
        if change.key.endswith("head.num_classes") and isinstance(change.after, int):
            leave_out_topk(config, change.after)
    if changes:
        told = [f"{one.key} {shown(one.after, 60)} (not {shown(one.before, 60)})" for one in changes]
        print_log(f"Takes the sizes that the checkpoint was trained with: {shorten(told)}.", "current")
    return [change.key for change in changes]


def _differences(config: Config, own: Config, most: int) -> Iterator[_Change]:
    """Yield the sizes in which a checkpoint's own config differs."""
    given, other = config.model, own.model
    same_task = all(_kind(given.get(name)) == _kind(other.get(name)) for name in _HEADS)
    same_task = same_task and _kind(given) == _kind(other)
    for name in given:
        if same_task or name == "backbone":
            yield from _of_pair(given[name], other.get(name), f"model.{name}", most, same_task)
    name = "model.data_preprocessor" if "data_preprocessor" in given else "data_preprocessor"
    one, two = (cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") for cfg in (config, own))
    yield from _of_pair(one, two, name, most, same_task)


def _of_pair(given: Any, own: Any, path: str, most: int, same_task: bool) -> Iterator[_Change]:
    if isinstance(given, list | tuple) and isinstance(own, list | tuple) and len(given) == len(own):
        for number, one in enumerate(given):
            yield from _of_pair(one, own[number], f"{path}.{number}", most, same_task)
    if not isinstance(given, Mapping) or not isinstance(own, Mapping) or _kind(given) != _kind(own):
        return
    for name in [*given, *(key for key in _OPTIONAL if key in own and key not in given)]:
        if (
            _LEFT.fullmatch(str(name))
            or "." in str(name)
            or not (same_task or name in (*_ENCODER, "crop_size") or ".arch" in path)
        ):
            continue
        key, before, after = f"{path}.{name}", given.get(name), own.get(name)
        if _holds_parts(before) or _holds_parts(after) or (isinstance(before, Mapping) and isinstance(after, Mapping)):
            yield from _of_pair(before, after, key, most, same_task)
        elif (name in own or name in _OPTIONAL) and _is_other(before, after) and _is_size(name, after, most):
            yield _Change(key, before, after)


def _kind(part: Any) -> str:
    name = type_name(part)
    return _ALIKE.get(name, name)


def _holds_parts(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value)


def _is_other(one: Any, two: Any) -> bool:
    """Return whether two sizes differ, be they lists or tuples, or one number for both sides."""
    plain = [list(value) if isinstance(value, list | tuple) else value for value in (one, two)]
    if any(isinstance(value, list) for value in plain):
        plain = [[value] * 2 if type(value) is int else value for value in plain]
    return plain[0] != plain[1]


def _is_size(name: str, value: Any, most: int) -> bool:
    """Return whether a value of a checkpoint's config is one that may be taken."""
    if isinstance(value, str):
        return name in _MODES and re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", value) is not None
    if isinstance(value, list | tuple):
        return len(value) <= _MOST_ITEMS and all(_is_size(name, one, most) for one in value)
    if isinstance(value, Mapping):  # such as the widths of an encoder
        return name in ("arch", "patch_cfg") and all(
            type(key) is str and not _LEFT.fullmatch(key) and type(one) is int and 0 <= one <= most
            for key, one in value.items()
        )
    if isinstance(value, float):
        return name in _FRACTIONS and math.isfinite(value) and 0 < value <= _MOST_ITEMS
    return value is None or isinstance(value, bool) or (type(value) is int and -_MOST_ITEMS <= value <= most)


def _largest(content: Mapping[str, Any]) -> int:
    """Return the largest number that can be a size of a checkpoint's network: of a side of a weight, or of weights."""
    held = content.get("state_dict")
    weights = [one for one in held.values() if isinstance(one, Tensor)] if isinstance(held, Mapping) else []
    return max([len(weights), *(side for one in weights for side in one.shape)], default=0)


def _is_kept(key: str, keep: Collection[str]) -> bool:
    chosen = [one.removeprefix("+") for one in keep]
    return any(key == one or key.startswith(f"{one}.") or one.startswith(f"{key}.") for one in chosen)


def _set(config: Config, change: _Change) -> None:
    *path, name = change.key.split(".")
    node: Any = config
    for part in path:
        node = node[int(part) if isinstance(node, list | tuple) else part]
    if change.after is None and name in _OPTIONAL and name != "codebook_size":
        node.pop(name, None)  # the default, where it is left out
    else:
        node[name] = change.after
