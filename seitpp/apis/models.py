"""Any model that a config describes, by the config's name, as mmpretrain's `get_model`."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from seitpp.apis.loading import as_config, load_model
from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.registry import TOKENIZERS


def get_model(
    model: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    tokenizer: Mapping | str | Path | None = None,
    compare_grids: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """Build any model of a config, for prediction, as mmpretrain's `get_model`.

    What only training needs is left out: augmentations with their files.

    Args:
        model: Name of a config that comes with the package (`list_models`), the path of one, or a config.
        checkpoint: Weights; of a run with a moving average the averaged ones, as in testing. None leaves the network
            as it was built, and without the codebook's file it has a data preprocessor that passes tokens on.
        device: Where to; the CPU by default.
        tokenizer: What makes tokens of images, see `give_tokenizer`.
        compare_grids: Whether to refuse another grid than that of the training.
        **kwargs: Changes of the model's config, such as `backbone=dict(out_type="featmap")`, or of its
            `data_preprocessor`; of a tokenizer's options for a config of configs/tokenizers/.

    Returns:
        The model in evaluation mode, with `_config`, and `_dataset_meta`, the names of the classes that it was trained
        on. For a config of configs/tokenizers/ the tokenizer.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: There is no such config, or the weights do not fit it.

    Example:
        >>> model = get_model("seit_vit-tiny-p2_1xb64-60e_digits-tokens", "work_dirs/quickstart/seit/epoch_60.pth")
    """
    config = as_config(model)
    if model_kind(config) is ModelKind.TOKENIZER:
        built = _build_tokenizer(config, checkpoint, kwargs)
    else:
        built = load_model(_changed(config, kwargs), checkpoint, tokenizer, compare_grids, keep=_dotted(kwargs))
    return built if device is None else built.to(device)


def _changed(config: Config, changes: Mapping[str, Any]) -> Config:
    if not changes:
        return config
    config, changes = copy.deepcopy(config), dict(changes)
    if "data_preprocessor" in changes and "data_preprocessor" not in config.get("model", {}):
        config.merge_from_dict({"data_preprocessor": changes.pop("data_preprocessor")})
    config.merge_from_dict({"model": changes})
    return config


def _dotted(changes: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys of changes of a model's config."""
    keys = []
    for name, value in changes.items():
        top = name if name == "data_preprocessor" else f"model.{name}"
        keys += [f"{top}.{inner}" for inner in value] if isinstance(value, Mapping) else [top]
    return [*keys, *(f"model.{key}" for key in keys if key.startswith("data_preprocessor"))]


def _build_tokenizer(config: Config, checkpoint: str | Path | None, changes: Mapping[str, Any]) -> nn.Module:
    options = {**config.tokenizer, **changes}
    if "fit" in options:
        raise ValueError(
            f"the tokenizer of {config.filename} is fitted to images; seitpp.tokenizers.tokenizer_from_store builds "
            "that of a store which it made"
        )
    if checkpoint is not None:
        options["checkpoint"] = str(checkpoint)
    return TOKENIZERS.build(options).eval()
