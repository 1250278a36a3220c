"""What hooks ask of a run: its model without a wrapper, and what its data sets say of themselves."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model itself, without DDP's or FSDP's wrapper."""
    return model.module if is_model_wrapper(model) else model


def metadata_of(dataset: Any) -> dict[str, Any]:
    """Return what a data set says of its samples; nothing if it says nothing."""
    return getattr(dataset, "metainfo", None) or {}


def name_of(dataset: Any) -> str:
    """Return the name of a data set for messages: the path of its store, else its class."""
    return getattr(dataset, "store_path", type(dataset).__name__)
