"""Comparing the grid of tokens that a model was trained on with what a run, an inferencer or an export gives it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seitpp.structures.grid_record import Sides, TokenGrid, as_sides, by, grid_difference

_REMEDY = (
    "The model has learned what tokens mean at the positions of that grid, and its scores on another mean little: give "
    "it tokens of the same grid, and the config the sizes of the training (data_preprocessor.crop_size, "
    "model.backbone.grid_size)"
)


def grid_of(model: nn.Module, facts: Mapping[str, Any], where: str) -> TokenGrid:
    """What a data set stores of an image, and what the model's data preprocessor keeps of it.

    Args:
        model: The model, not wrapped.
        facts: What the data set tells of itself, its `metainfo`. Of images the data preprocessor's tokenizer tells.
        where: Its name, for messages.
    """
    network = getattr(model, "token_adapt", None)
    if network is not None:  # trained on images, or on pairs made of them: its own sizes say what it saw
        return TokenGrid(tuple(network.grid), tuple(network.out_grid))
    stored = as_sides(facts.get("grid"), f"the grid of {where}")
    if stored is None and "image_size" in facts:
        tokenizer = getattr(model.data_preprocessor, "tokenizer", None)
        stored = None if tokenizer is None else tuple(tokenizer.grid)
    return TokenGrid(stored, crop_of(model) or stored)


def seen_grid(model: nn.Module, facts: Mapping[str, Any], where: str) -> TokenGrid:
    """What the model sees of a data set outside training: as `grid_of`, but for the windows of a sliding segmentor."""
    window = window_of(model)
    return grid_of(model, facts, where) if window is None else TokenGrid(kept=window)


def crop_of(model: nn.Module) -> Sides | None:
    """Rows and columns of the centre crop; None where all is kept."""
    crop = getattr(getattr(model, "data_preprocessor", None), "crop_size", None)
    return as_sides(None if crop is None else tuple(crop), "data_preprocessor.crop_size")


def check_trained_on(trained: TokenGrid, source: str, given: TokenGrid, where: str, switch: str) -> None:
    """Refuse data of another grid, or another crop of it, than a checkpoint was trained on.

    Args:
        trained: What the checkpoint tells.
        source: The checkpoint, or other data that it is compared with, for messages.
        given: What the model is given now.
        where: Whose that is.
        switch: The option that allows it.

    Raises:
        ValueError: They differ.
    """
    if difference := grid_difference(trained, given):
        raise ValueError(
            f"{source} does not fit {where}: {difference}. {_REMEDY}. Where the difference is meant, {switch}"
        )


def check_input_size(model: nn.Module, given: TokenGrid, where: str, switch: str) -> None:
    """Refuse data that the network's position table would have to be resized for, at every batch.

    Raises:
        ValueError: The encoder is made for another number of rows or columns than it would be given.
    """
    expected, kept = input_size_of(model), given.kept
    if expected is not None and kept is not None and expected != kept:
        cut = "" if kept == given.stored or given.stored is None else f" (of {by(given.stored)})"
        raise ValueError(
            f"the network is made for {by(expected)} tokens and {where} gives it {by(kept)}{cut}; set "
            "model.backbone.grid_size and data_preprocessor.crop_size to what the tokens are (tools/train.py and "
            f"tools/test.py do so with --store), or give it other tokens. Where the difference is meant, {switch}"
        )


def input_size_of(model: nn.Module) -> Sides | None:
    """Rows and columns of tokens that an encoder of tokens has a position table for; None of any other model."""
    backbone = getattr(model, "backbone", None)
    if not hasattr(backbone, "embed_tokens") or getattr(backbone, "img_size", None) is None:
        return None
    return as_sides(tuple(backbone.img_size), "model.backbone.grid_size")


def window_of(model: nn.Module) -> Sides | None:
    """Rows and columns of a segmentor's sliding windows; None without them."""
    options = getattr(model, "test_cfg", None)
    if not hasattr(model, "decode_head") or not isinstance(options, Mapping) or options.get("mode") != "slide":
        return None
    return as_sides(options["crop_size"], "model.test_cfg.crop_size")


def check_positions(model: nn.Module, weights: Mapping[str, Tensor], source: str, switch: str) -> None:
    """Refuse weights whose position table would be resized: they were trained on another grid.

    Args:
        model: The model, not wrapped.
        weights: The checkpoint's, by name.
        source: The checkpoint, for messages.
        switch: The option that allows it.

    Raises:
        ValueError: The table has another number of positions than the model's.
    """
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
