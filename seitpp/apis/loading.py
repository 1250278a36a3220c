"""A model from a config, or its name, and a checkpoint, for use outside mmengine's runner."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DefaultScope
from torch import nn

from seitpp.apis.model_index import find_config
from seitpp.engine.checkpoint_sizes import GRID_KEYS, follow_checkpoint
from seitpp.engine.guards.grid import check_input_size, check_positions, check_trained_on, seen_grid
from seitpp.engine.image_testing import read_tokenizer
from seitpp.engine.model_kind import ModelKind, check_kind, model_kind
from seitpp.io.checkpoint import check_parts, check_state_dict, load_checkpoint_file, state_dict_of
from seitpp.io.checkpoint_config import config_of_checkpoint
from seitpp.io.config_file import CONFIG_SUFFIXES, read_config
from seitpp.models import TokenSegDataPreprocessor, TokenSegmentor
from seitpp.registry import MODELS
from seitpp.structures.grid_record import TokenGrid, recorded_grid
from seitpp.tokenizers.codebook import load_codebook

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
    config's, or where its file is missing the checkpoint's. Where the checkpoint holds the config of its training, the
    sizes (classes, grid, width, depth) are those of it.

    Args:
        config: A config whose model is a classifier with a `seitpp.TokenDataPreprocessor`, its path, or the name of one
            that comes with the package.
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
    config = as_config(config)
    check_kind(config, ModelKind.CLASSIFIER)
    return load_model(config, checkpoint, tokenizer, compare_grids, check_classifier)


def load_segmentor(
    config: str | Path | Config,
    checkpoint: str | Path,
    tokenizer: Mapping | str | Path | None = None,
    compare_grids: bool = True,
) -> nn.Module:
    """Build a segmentor of tokens (`seitpp.TokenSegmentor`) for prediction; everything else as `load_classifier`.

    Augmentations stay where `test_cfg.flip` is True, whose TokenAdapt is one of them, read when it is first used.
    """
    config = as_config(config)
    check_kind(config, ModelKind.SEGMENTOR)
    return load_model(config, checkpoint, tokenizer, compare_grids, check_segmentor)


def as_config(model: str | Path | Config) -> Config:
    """Return a config, that of a file, or one that comes with the package, by its name."""
    if isinstance(model, Config):
        return model
    if not isinstance(model, (str, Path)):
        raise ValueError(f"the model is a {type(model).__name__}; expected a config, its path, or its name")
    is_name = isinstance(model, str) and not model.endswith(CONFIG_SUFFIXES) and not {"/", "\\"} & set(model)
    return read_config(find_config(model) if is_name and not Path(model).exists() else model)


def load_model(
    config: Config,
    checkpoint: str | Path | None,
    tokenizer: Mapping | str | Path | None,
    compare_grids: bool,
    check: Callable[[nn.Module, str], None] | None = None,
    keep: Iterable[str] = (),
) -> nn.Module:
    """Build the model of a config, of any kind, in evaluation mode, and give it a checkpoint's weights if there is one.

    Args:
        config: As `checkpoint`, `tokenizer` and `compare_grids`: see `load_classifier`.
        check: Refuses a built model of another kind; its second argument is what messages call the config.
        keep: Dotted keys of the config that stay as they are, whatever the checkpoint's own config says.
    """
    weights, meta = None, None
    if checkpoint is not None:
        config, weights, meta = read_checkpoint(config, checkpoint, compare_grids, keep)
        _check_same_kind(config, meta, checkpoint)
    parts = prediction_parts(config, weights, tokenizer)
    scope = DefaultScope.overwrite_default_scope(config.get("default_scope") or "mmpretrain")
    with scope, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Default ``avg_non_ignore`` is False")  # where a config says so
        model = MODELS.build(parts)
    if check is not None:
        check(model, config.filename or "the config")
    model._config, model._dataset_meta = config, {}
    if weights is not None:
        load_weights(model, weights, meta, checkpoint, compare_grids)
    if tokenizer is not None:
        give_tokenizer(model, tokenizer)
    return model.eval()


def read_checkpoint(
    config: Config, checkpoint: str | Path, compare_grids: bool = True, keep: Iterable[str] = ()
) -> tuple[Config, dict[str, torch.Tensor], Any]:
    """Read a checkpoint for a model that is still to be built.

    Args:
        config: The model's config.
        checkpoint: File of its weights.
        compare_grids: Whether the grid is the checkpoint's; if not, that of the config stays.
        keep: Dotted keys of the config that stay as they are.

    Returns:
        A copy of the config with the sizes of the training, as far as the checkpoint tells them; the weights, the
        averaged ones where there are two kinds; and the checkpoint's `meta`.
    """
    content = load_checkpoint_file(checkpoint)
    if not isinstance(content, dict):
        return config, state_dict_of(content, checkpoint), None
    check_parts(content, checkpoint)
    if "model" in config:
        config = copy.deepcopy(config)
        follow_checkpoint(config, content, (*keep, *(() if compare_grids else GRID_KEYS)))
    return config, state_dict_of(content, checkpoint), content.get("meta")


def _check_same_kind(config: Config, meta: Any, checkpoint: str | Path) -> None:
    """Refuse the checkpoint of another kind of model, where it holds the config of its training."""
    try:
        own = config_of_checkpoint({"meta": meta})
    except ValueError:
        return
    kinds = [model_kind(one) for one in (own or config, config)]
    if kinds[0] is not kinds[1] and ModelKind.OTHER not in kinds:
        raise ValueError(
            f"checkpoint {checkpoint} is of {kinds[0].value}, by the config of its training, and "
            f"{config.filename or 'the config'} is the config of {kinds[1].value}; give the two that belong together"
        )


def load_weights(
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    meta: Any,
    source: str | Path,
    compare_grids: bool,
    may_exceed: Iterable[str] = (),
) -> None:
    """Load weights that fit a built model, and let it remember what the checkpoint tells of its training.

    Sets `_dataset_meta`, `_trained_grid` and `_source`; refuses weights of another grid unless `compare_grids` is off.
    """
    expected = model.state_dict()
    check_state_dict(
        weights,
        expected,
        source,
        may_miss=[name for name in expected if name.startswith("data_preprocessor.")],
        may_exceed=may_exceed,
        resizable=[name for name in expected if name.endswith("backbone.pos_embed")],
    )
    dataset_meta = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    model._dataset_meta = dict(dataset_meta) if isinstance(dataset_meta, Mapping) else {}
    model._trained_grid, model._source = recorded_grid(meta, source), str(source)
    if compare_grids:
        check_positions(model, weights, str(source), _SWITCH)
        given = seen_grid(model, {}, "the config")
        check_trained_on(model._trained_grid, f"checkpoint {source}", given, "the config", _SWITCH)
    model.load_state_dict({name: value for name, value in weights.items() if name in expected})


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


def prediction_parts(config: Config, weights: Mapping[str, torch.Tensor] | None, tokenizer: Any = None) -> ConfigDict:
    """Return a config's model with its data preprocessor, without what only training needs.

    The codebook is the weights' where its file is missing or holds one of another size; the config's tokenizer is left
    out where another is given.
    """
    if "model" not in config:
        raise ValueError(f"{config.filename or 'the config'} has no model; expected a model's config")
    model = copy.deepcopy(config.model)
    preprocessor = model.get("data_preprocessor") or copy.deepcopy(config.get("data_preprocessor"))
    if preprocessor is not None:
        if (model.get("test_cfg") or {}).get("flip") is not True:
            preprocessor.pop("augments", None)
        if tokenizer is not None:
            preprocessor.pop("tokenizer", None)
        codebook, trained = preprocessor.get("codebook"), (weights or {}).get(_CODEBOOK)
        if isinstance(codebook, str):
            if not Path(codebook).exists():
                if weights is None:
                    preprocessor = _without_codebook(codebook)
                elif trained is not None:
                    preprocessor.codebook = trained
            elif trained is not None and load_codebook(codebook).shape != tuple(trained.shape):
                preprocessor.codebook = trained  # the config's is another recipe's
    model.data_preprocessor = preprocessor
    if weights is not None and "backbone" in model:
        model.backbone.pop("init_cfg", None)
    return model


def _without_codebook(codebook: str) -> nn.Module:
    print_log(
        f"The codebook {codebook} is not here and no checkpoint brings it: the model takes what its backbone does. "
        "Pass checkpoint, or data_preprocessor=dict(codebook=...) with a token store.",
        "current",
        logging.WARNING,
    )
    return BaseDataPreprocessor()  # built, since mmpretrain's classifiers would give it more options


def check_grid(model: nn.Module, grid: Sequence[int], where: str) -> None:
    """Refuse tokens of another grid (rows, columns) than a loaded model was trained on, or its network is made for."""
    given = seen_grid(model, {"grid": list(grid)}, where)
    source = f"checkpoint {getattr(model, '_source', None)}"
    check_trained_on(getattr(model, "_trained_grid", TokenGrid()), source, given, where, _SWITCH)
    check_input_size(model, given, where, _SWITCH)
