"""What a run of a classifier was: trained on pixels or on tokens, with which augmentation, from which encoder."""

import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from rich.filesize import decimal

from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.engine.weight_files import pretrained_parts
from seitpp.engine.work_folders.data_bytes import Find
from seitpp.io.checkpoint_config import config_of_checkpoint
from seitpp.io.config_file import dicts_in, type_name

_SEITPP = ("TokenAdaptAugment", "ColorAdapt")


def method_of(config: Mapping[str, Any], is_pixels: bool, find: Find) -> str:
    """Return `pixels`, `SeiT` or `SeiT++`, and ` w/ MTM` where the encoder is MTM's.

    A run is SeiT++ that augments by TokenAdapt or ColorAdapt. `find` says where a path of the config leads to.
    """
    if is_pixels:
        base = "pixels"
    else:
        base = "SeiT++" if any(type_name(part) in _SEITPP for part in _augments(config)) else "SeiT"
    return base + (" w/ MTM" if any(_is_mtm(path, find) for path in _starts(config)) else "")


def needed_beside(config: Mapping[str, Any], find: Find) -> list[str]:
    """Return what training needs beside its data, with bytes, and where it starts from: a line for each."""
    adapters = dict.fromkeys(
        part["checkpoint"]
        for part in _augments(config)
        if type_name(part) == "TokenAdaptAugment" and isinstance(part.get("checkpoint"), str)
    )
    lines = [f"needs TokenAdapt's weights beside its data: {path} ({_size(find(path))})" for path in adapters]
    starts = [path for path in _starts(config) if not _is_mtm(path, find)]
    return [*lines, *(f"starts from {path}, whose training data are not counted" for path in starts)]


def _augments(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from dicts_in(config.get("data_preprocessor"))
    yield from dicts_in(config.get("model"))


def _starts(config: Mapping[str, Any]) -> list[str]:
    """Return the checkpoints that a run started from, without its own that it was resumed from."""
    found = [part["init_cfg"]["checkpoint"] for part in pretrained_parts(config.get("model"))]
    if not config.get("resume"):
        found.append(config.get("load_from"))
    return list(dict.fromkeys(path for path in found if isinstance(path, str)))


def _is_mtm(path: str, find: Find) -> bool:
    """Whether a checkpoint is MTM's: by the config in it, or, where that cannot be read, by its name."""
    here = find(path)
    try:
        config = config_of_checkpoint(here) if os.path.isfile(here) else None
    except (ValueError, OSError):
        config = None
    if config is not None:
        return model_kind(config) is ModelKind.MTM
    return any(part.lower().startswith("mtm") for part in PurePath(path).parts[-2:])


def _size(path: str) -> str:
    return decimal(os.path.getsize(path)) if os.path.isfile(path) else "not there any more"
