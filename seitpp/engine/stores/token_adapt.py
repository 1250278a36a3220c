"""A config that trains TokenAdapt, for the tokens of a store: its tokenizer, grid and codes, and images of its size."""

from typing import Any

from mmengine.config import Config, ConfigDict

from seitpp.engine.stores.augments import centre_crop, fit_crops
from seitpp.io.config_file import dicts_in, type_name
from seitpp.storage import StoreReader
from seitpp.structures.grid_record import as_sides, by
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.from_store import outline_from_header

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_CROPS = ("RandomCrop", "CenterCrop", "RandomResizedCrop")
_RESIZES = ("Resize", "ResizeEdge", *_CROPS)


def use_tokenizer_of(config: Config, reader: StoreReader) -> list[str]:
    """Let TokenAdapt learn the tokens of a store, from the config's images at the size that made the store.

    Changes tokenizer, K, values per code or channels, grid, the part of it that is kept, the augmentations' sizes,
    and the images' size, colour channels and range. Images and token pairs stay where the config has them.

    Returns:
        What was chosen, in sentences.

    Raises:
        ValueError: The store does not describe its tokenizer, and the config's is made for other tokens.
    """
    network = config.model.token_adapt
    if reader.channels is None and reader.codebook is None:
        raise ValueError(f"{reader.path} carries no codebook; import or write it with one (docs/data.md)")
    sizes: dict[str, Any] = {"grid": reader.grid, "codebook_size": None, "code_dim": reader.channels}
    if reader.codebook is not None:
        sizes |= dict(zip(("codebook_size", "code_dim"), reader.codebook.shape, strict=True))
    if "type" not in reader.header["tokenizer"]:
        own = {name: network.get(name) for name in sizes} | {"grid": as_sides(network.get("grid"), "token_adapt.grid")}
        if own != sizes:
            raise ValueError(
                f"{reader.path} does not describe its tokenizer, without which no images become its tokens, and the "
                f"config's is made for {own} where the store has {sizes}. Use a store that tools/tokenize_images.py "
                "wrote, or a recipe with the tokenizer that made it"
            )
        return [f"{reader.path} does not describe its tokenizer: the config's {config.model.tokenizer.type} is kept."]
    outline = outline_from_header(reader.header["tokenizer"], reader.path)
    crop = _kept_of(network, reader.grid)
    network.update(sizes, out_grid=crop)
    config.model.tokenizer = str(reader.path)
    map_size = (2 * crop[0], 2 * crop[1])
    fit_crops(config.model.augments, map_size)
    for chain in [config.model.augments, *(config.model.get("eval_augments") or {}).values()]:
        if not fit_crops(chain, map_size) and crop != reader.grid:
            chain.append(centre_crop(map_size))
    _fit_images(config, outline)
    return [
        f"TokenAdapt learns the tokens of {reader.path}: {by(reader.grid)}, of which {by(crop)} are kept, of images of "
        f"{by(outline.image_size)} pixels. A store holds no images: the config names them, as "
        f"{' and '.join(_sources(config))}."
    ]


def _sources(config: Config) -> list[str]:
    """Return the options that name a config's images and token pairs."""
    datasets = {name: (config.get(name) or {}).get("dataset") or {} for name in _LOADERS[:2]}
    return [f"{name}.dataset.{key}" for name, dataset in datasets.items() for key in ("data_root", "store")
            if dataset.get(key) is not None]  # fmt: skip


def _kept_of(network: ConfigDict, grid: tuple[int, int]) -> tuple[int, int]:
    """Return the tokens that are kept: the recipe's of its own grid, the central 7/8 or so of any other."""
    if as_sides(network.get("grid"), "token_adapt.grid") == grid:
        return as_sides(network.get("out_grid"), "token_adapt.out_grid")
    return tuple(side - 2 * round(side / 16) for side in grid)  # as many on both sides: the middle begins at a token


def _fit_images(config: Config, tokenizer: Tokenizer) -> None:
    """Bring the images of a config to size, channels and range of what a tokenizer encodes."""
    low, high = tokenizer.pixel_range
    channels, std = tokenizer.in_channels, 255 / (high - low)
    preprocessor = config.model.get("data_preprocessor") or config.data_preprocessor
    preprocessor.update(mean=[-low * std] * channels, std=[std] * channels, to_rgb=channels == 3)
    for name in _LOADERS:
        for dataset in dicts_in((config.get(name) or {}).get("dataset")):
            if isinstance(dataset.get("pipeline"), list):
                dataset.pipeline = _fitted(dataset.pipeline, tokenizer)


def _fitted(pipeline: list[ConfigDict], tokenizer: Tokenizer) -> list[ConfigDict]:
    """Return a pipeline of images that ends with the size and the channels of a tokenizer's images.

    Crops get the new size; resizing to a size follows the tokenizer, and where a pipeline has neither it is added.
    """
    height, width = tokenizer.image_size
    steps, sized = [], any(type_name(step) in _RESIZES for step in pipeline)
    for step in pipeline:
        kind = type_name(step)
        if kind == "LoadImageFromFile":
            step.color_type = "grayscale" if tokenizer.in_channels == 1 else "color"
        elif kind in _CROPS:
            key = "scale" if kind == "RandomResizedCrop" else "crop_size"
            step[key] = (width, height) if kind == "CenterCrop" else (height, width)
        elif kind == "ResizeEdge":
            step.scale = max(height, width)
        steps += _resizing(tokenizer) if kind == "Resize" else [step]
        if kind == "LoadImageFromFile" and not sized:
            steps += _resizing(tokenizer)
    return steps


def _resizing(tokenizer: Tokenizer) -> list[ConfigDict]:
    """Resize as the tokenizer does: to its size whatever the aspect, or until it is covered, then the centre."""
    (height, width), filters = tokenizer.image_size, dict(backend="pillow", interpolation="bicubic")
    if tokenizer.resize_mode == "exact":
        return [ConfigDict(type="mmpretrain.Resize", scale=(width, height), **filters)]
    return [
        ConfigDict(type="mmpretrain.ResizeEdge", scale=max(height, width), edge="short", **filters),
        ConfigDict(type="mmpretrain.CenterCrop", crop_size=(width, height)),
    ]
