"""A classifier or segmentor from a config and a checkpoint, for use outside mmengine's runner."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from seitpp.engine.guards.grid import check_input_size, check_positions, check_trained_on, seen_grid
from seitpp.engine.image_testing import read_tokenizer
from seitpp.io.checkpoint import check_parts, check_state_dict, load_checkpoint_file, state_dict_of
from seitpp.io.config_file import read_config
from seitpp.models import TokenSegDataPreprocessor, TokenSegmentor
from seitpp.registry import MODELS
from seitpp.structures.grid_record import TokenGrid, recorded_grid

_CODEBOOK = "data_preprocessor.codebook"
_SWITCH = "pass compare_grids=False (--any-grid)"


def load_classifier(
    config: str | Path | Config,
    checkpoint: str | Path,
    tokenizer: Mapping | str | Path | None = None,
    compare_grids: bool = True,
) -> nn.Module:
    """Build a classifier of tokens for prediction, on the CPU, in evaluation mode.

    Leaves out what only training needs: augmentations with their files, and pre-trained weights. The codebook is the
    config's, or where its file is missing the checkpoint's.

    Args:
        config: A config whose model is a classifier with a `seitpp.TokenDataPreprocessor`.
        checkpoint: Its weights. Of a run with a moving average they are the averaged ones, as in testing.
        tokenizer: What makes tokens of images: see `give_tokenizer`. By default what the config's data preprocessor
            says, if anything.
        compare_grids: Whether to refuse sizes of another grid of tokens than the checkpoint was trained on.

    Returns:
        The model, with the class names of its training data under `_dataset_meta` as mmpretrain's `get_model` leaves
        them, and the grid of its training, as far as the checkpoint tells, under `_trained_grid`.

    Raises:
        FileNotFoundError: The config, the checkpoint, or its codebook is missing.
        ValueError: The config is of another kind of model, or the weights do not fit it.
    """
    return _load(config, checkpoint, tokenizer, compare_grids, check_classifier)


def load_segmentor(
    config: str | Path | Config,
    checkpoint: str | Path,
    tokenizer: Mapping | str | Path | None = None,
    compare_grids: bool = True,
) -> nn.Module:
    """Build a segmentor of tokens (`seitpp.TokenSegmentor`) for prediction; everything else as `load_classifier`.

    Augmentations stay where `test_cfg.flip` is True, whose TokenAdapt is one of them, read when it is first used.
    """
    return _load(config, checkpoint, tokenizer, compare_grids, check_segmentor)


def _load(
    config: str | Path | Config,
    checkpoint: str | Path,
    tokenizer: Mapping | str | Path | None,
    compare_grids: bool,
    check: Callable[[nn.Module, str], None],
) -> nn.Module:
    config = config if isinstance(config, Config) else read_config(config)
    content = load_checkpoint_file(checkpoint)
    if isinstance(content, dict):
        check_parts(content, checkpoint)
    weights = state_dict_of(content, checkpoint)
    parts = _model_config(config, weights)
    if tokenizer is not None and parts.data_preprocessor is not None:
        parts.data_preprocessor.pop("tokenizer", None)
    with DefaultScope.overwrite_default_scope(config.get("default_scope") or "mmpretrain"):
        model = MODELS.build(parts)
    check(model, config.filename or "the config")
    expected = model.state_dict()
    check_state_dict(
        weights,
        expected,
        checkpoint,
        may_miss=[name for name in expected if name.startswith("data_preprocessor.")],
        resizable=[name for name in expected if name.endswith("backbone.pos_embed")],
    )
    meta = content.get("meta") if isinstance(content, Mapping) else None
    dataset_meta = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    model._config, model._dataset_meta = config, dict(dataset_meta) if isinstance(dataset_meta, Mapping) else {}
    model._trained_grid, model._source = recorded_grid(meta, checkpoint), str(checkpoint)
    if compare_grids:
        check_positions(model, weights, str(checkpoint), _SWITCH)
        given = seen_grid(model, {}, "the config")
        check_trained_on(model._trained_grid, f"checkpoint {checkpoint}", given, "the config", _SWITCH)
    model.load_state_dict(weights)
    if tokenizer is not None:
        give_tokenizer(model, tokenizer)
    return model.eval()


def check_classifier(model: nn.Module, source: str) -> None:
    """Refuse a model that does not tell classes apart, or takes no tokens."""
    if getattr(getattr(model, "head", None), "num_classes", None) is None:
        raise ValueError(
            f"the model of {source} is a {type(model).__name__} whose head has no classes; expected a classifier, such "
            "as mmpretrain.ImageClassifier with a LinearClsHead"
        )
    if not hasattr(model.data_preprocessor, "codebook_sha256"):
        raise ValueError(
            f"the model of {source} has the data preprocessor {type(model.data_preprocessor).__name__}; a classifier "
            "of tokens has a seitpp.TokenDataPreprocessor"
        )


def check_segmentor(model: nn.Module, source: str) -> None:
    """Refuse a model that does not segment tokens."""
    preprocessor = getattr(model, "data_preprocessor", None)
    if not isinstance(model, TokenSegmentor) or not isinstance(preprocessor, TokenSegDataPreprocessor):
        raise ValueError(
            f"the model of {source} is a {type(model).__name__} with the data preprocessor "
            f"{type(preprocessor).__name__}; expected a seitpp.TokenSegmentor with a seitpp.TokenSegDataPreprocessor"
        )


def give_tokenizer(model: nn.Module, tokenizer: Mapping | str | Path) -> None:
    """Let a built model take images, too.

    `tokenizer` makes tokens of them: a tokenizer's config, a file of configs/tokenizers/, or the folder of a token
    store that it made. It is built when it is first used.
    """
    given = dict(tokenizer) if isinstance(tokenizer, Mapping) else read_tokenizer(str(tokenizer))
    if "fit" in given and not isinstance(given, str):
        raise ValueError("the tokenizer's config has a fit entry; give the token store that it was fitted for instead")
    model.data_preprocessor.use_tokenizer(given)


def _model_config(config: Config, weights: Mapping[str, torch.Tensor]) -> ConfigDict:
    if "model" not in config:
        raise ValueError(f"{config.filename or 'the config'} has no model; expected a classifier's config")
    model = copy.deepcopy(config.model)
    preprocessor = model.get("data_preprocessor") or copy.deepcopy(config.get("data_preprocessor"))
    if preprocessor is not None:
        if (model.get("test_cfg") or {}).get("flip") is not True:
            preprocessor.pop("augments", None)
        codebook = preprocessor.get("codebook")
        if isinstance(codebook, str) and not Path(codebook).exists() and _CODEBOOK in weights:
            preprocessor.codebook = weights[_CODEBOOK]
    model.data_preprocessor = preprocessor
    if "backbone" in model:
        model.backbone.pop("init_cfg", None)
    return model


def check_grid(model: nn.Module, grid: Sequence[int], where: str) -> None:
    """Refuse tokens of another grid (rows, columns) than a loaded model was trained on, or its network is made for."""
    given = seen_grid(model, {"grid": list(grid)}, where)
    source = f"checkpoint {getattr(model, '_source', None)}"
    check_trained_on(getattr(model, "_trained_grid", TokenGrid()), source, given, where, _SWITCH)
    check_input_size(model, given, where, _SWITCH)
