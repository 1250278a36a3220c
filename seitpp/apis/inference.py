"""The inferencer that suits a config, whether it is a classifier's or a segmentor's."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from seitpp.apis.base import InputType, TokenInferencer
from seitpp.apis.classification import TokenClassificationInferencer
from seitpp.apis.loading import as_config
from seitpp.apis.segmentation import TokenSegInferencer
from seitpp.engine.model_kind import ModelKind, check_kind

_INFERENCERS: dict[ModelKind, type[TokenInferencer]] = {
    ModelKind.CLASSIFIER: TokenClassificationInferencer,
    ModelKind.SEGMENTOR: TokenSegInferencer,
}


def get_inferencer(
    model: str | Path | Config | nn.Module, checkpoint: str | Path | None = None, **kwargs: Any
) -> TokenInferencer:
    """Return a `TokenSegInferencer` of a segmentor, and a `TokenClassificationInferencer` of a classifier.

    Args:
        model: A config, its path, the name of one that comes with the package, or a model that is built.
        checkpoint: Its weights; None for a built model.
        **kwargs: Other arguments of the inferencer: `device`, `tokenizer`, `classes`, `compare_grids`, `palette`.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The config is of another kind of model, or the weights do not fit it.
    """
    if isinstance(model, nn.Module):
        kind = ModelKind.SEGMENTOR if hasattr(model, "decode_head") else ModelKind.CLASSIFIER
    else:
        model = as_config(model)
        kind = check_kind(model, *_INFERENCERS)
    return _INFERENCERS[kind](model, checkpoint, **kwargs)


def inference_model(
    model: str | Path | Config | nn.Module,
    inputs: InputType,
    checkpoint: str | Path | None = None,
    *,
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the result of one image, or sample, as mmpretrain's `inference_model`.

    For more than one image `get_inferencer` loads the model once.

    Args:
        model: As `checkpoint`: see `get_inferencer`.
        inputs: An image, or a tensor of one sample's tokens.
        checkpoint: Its weights.
        options: Arguments of the inferencer's call, such as `dict(topk=3, show_dir="shown")`.
        **kwargs: Arguments of the inferencer.
    """
    return get_inferencer(model, checkpoint, **kwargs)(inputs, **(options or {}))[0]
