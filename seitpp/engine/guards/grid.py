"""Comparing the grid of tokens that a model was trained on with the grid that a run or an inferencer gives it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seitpp.structures.grid_record import TokenGrid, as_sides, by, grid_difference


def grid_of(model: nn.Module, metadata: Mapping[str, Any], where: str) -> TokenGrid:
    """Return the grid that a data set (its `metainfo`) stores per image, and the part that the model keeps of it.

    The grid of images is that of the data preprocessor's tokenizer.
    """
    network = getattr(model, "token_adapt", None)
    if network is not None:  # trained on images, or on pairs of them
        return TokenGrid(tuple(network.grid), tuple(network.out_grid))
    preprocessor = getattr(model, "data_preprocessor", None)
    stored = as_sides(metadata.get("grid"), f"the grid of {where}")
    if stored is None and "image_size" in metadata:
        tokenizer = getattr(preprocessor, "tokenizer", None)
        stored = None if tokenizer is None else tuple(tokenizer.grid)
    crop = getattr(preprocessor, "crop_size", None)
    return TokenGrid(stored, stored if crop is None else as_sides(tuple(crop), "data_preprocessor.crop_size"))


def seen_grid(model: nn.Module, metadata: Mapping[str, Any], where: str) -> TokenGrid:
    """Return the grid that a model sees outside training: as `grid_of`, or the window of a sliding segmentor."""
    options = getattr(model, "test_cfg", None)
    if hasattr(model, "decode_head") and isinstance(options, Mapping) and options.get("mode") == "slide":
        return TokenGrid(kept=as_sides(options["crop_size"], "model.test_cfg.crop_size"))
    return grid_of(model, metadata, where)


def check_trained_on(trained: TokenGrid, source: str, given: TokenGrid, where: str, switch: str) -> None:
    """Refuse data of another grid, or another crop of it, than a checkpoint was trained on.

    Args:
        trained: The grid of the training.
        source: Its checkpoint or data, for messages.
        given: The grid that the model is given now.
        where: The data that give it.
        switch: The option that allows a difference.
    """
    if difference := grid_difference(trained, given):
        raise ValueError(
            f"{source} does not fit {where}: {difference}. The model has learned what tokens mean at the positions of "
            "that grid, and its scores on another mean little: give it tokens of the same grid, and the config the "
            "sizes of the training (data_preprocessor.crop_size, model.backbone.grid_size). Where the difference is "
            f"meant, {switch}"
        )


def check_input_size(model: nn.Module, given: TokenGrid, where: str, switch: str) -> None:
    """Refuse data for which an encoder of tokens would have to resize its position table at every batch."""
    backbone, kept = getattr(model, "backbone", None), given.kept
    if not hasattr(backbone, "embed_tokens") or getattr(backbone, "img_size", None) is None:
        return
    expected = as_sides(tuple(backbone.img_size), "model.backbone.grid_size")
    if kept not in (None, expected):
        cut = "" if given.stored in (None, kept) else f" (of {by(given.stored)})"
        raise ValueError(
            f"the network is made for {by(expected)} tokens and {where} gives it {by(kept)}{cut}; set "
            "model.backbone.grid_size and data_preprocessor.crop_size to what the tokens are (tools/train.py and "
            f"tools/test.py do so with --store), or give it other tokens. Where the difference is meant, {switch}"
        )


def check_positions(model: nn.Module, weights: Mapping[str, Tensor], source: str, switch: str) -> None:
    """Refuse a checkpoint's weights whose position table would be resized, as they were trained on another grid."""
    own = getattr(getattr(model, "backbone", None), "pos_embed", None)
    found = weights.get("backbone.pos_embed", weights.get("module.backbone.pos_embed"))
    if own is None or found is None or found.ndim != own.ndim:
        return
    # An encoder without a class token leaves out the position of one.
    extra = 0 if getattr(model.backbone, "with_cls_token", True) else 1
    if not own.shape[1] <= found.shape[1] <= own.shape[1] + extra:
        raise ValueError(
            f"checkpoint {source} has {found.shape[1]} positions, the network of the config {own.shape[1]}: it was "
            "trained on another grid of tokens, or another crop. Set model.backbone.grid_size and "
            f"data_preprocessor.crop_size to those of its training. Where the difference is meant, {switch}"
        )
