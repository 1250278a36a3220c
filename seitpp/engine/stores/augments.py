"""Augmentations of a config on the tokens of a store: sizes of crops, synonyms, the tokenizer that reaches pixels."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import ConfigDict

from seitpp.io.config_file import dicts_in, type_name
from seitpp.storage import StoreReader

# Share of the grid's side that a recipe keeps: 28 of 32.
_KEPT = 7 / 8
_CROPS = ("TokenRRC", "BatchRandomResizedCrop", "BatchCenterCrop")
# Augmentations that act on something else than the tokens of a grid.
_ELSEWHERE = ("TokenAdaptAugment", "PixelAugment")


def kept_side(side: int, patch: int = 1) -> int:
    """Return how many tokens of a side are kept: about 7/8 of them, in whole patches, as 28 of 32."""
    return min(max(1, round(side * _KEPT / patch)), side // patch) * patch


def fit_augments(augments: Sequence[Any], reader: StoreReader, crop: tuple[int, int]) -> None:
    """Let the augmentations of a data preprocessor take the tokens of a store to `crop`."""
    for part in list(_without_maps(augments)):
        kind = type_name(part)
        if kind == "TokenEDA" and isinstance(part.synonyms, str):
            part.synonyms = _synonyms_of(reader)
        elif kind == "EmbNoise" and reader.codebook is None:
            part.relative = True  # values of no known scale
        elif kind == "PixelAugment":
            _fit_pixels(part, reader)
        elif kind == "TokenAdaptAugment":
            for size in ("codebook_size", "code_dim", "grid"):  # which it takes from the data
                part.token_adapt.pop(size, None)
            part.token_adapt.out_grid = crop
            fit_crops(part.augments, (2 * crop[0], 2 * crop[1]))  # of its map, in which a token has 2 x 2 positions
        elif kind == "SplitBatch" and crop != reader.grid:
            _crop_alike(part, crop)
        elif kind in _CROPS:
            part.size = crop


def fit_crops(augments: Any, size: tuple[int, int]) -> bool:
    """Let every crop among augmentations have this size; return whether there is one."""
    crops = [part for part in dicts_in(augments) if type_name(part) in _CROPS]
    for part in crops:
        part.size = size
    return bool(crops)


def centre_crop(size: tuple[int, int]) -> ConfigDict:
    return ConfigDict(type="seitpp.BatchCenterCrop", size=size)


def _crop_alike(split: ConfigDict, crop: tuple[int, int]) -> None:
    """Cut the centre out of the samples of a part that nothing crops, if those of the other part are cropped."""
    cropped = {name: any(type_name(one) in (*_CROPS, "TokenAdaptAugment") for one in dicts_in(split[name]))
               for name in ("first", "second")}  # fmt: skip
    if cropped["first"] != cropped["second"]:
        name = "second" if cropped["first"] else "first"
        split[name] = [centre_crop(crop), *split[name]]


def _synonyms_of(reader: StoreReader) -> str:
    """Return the file of synonyms beside a store; the store itself if it carries some and there is no file."""
    beside = reader.path.parent / "synonyms.json"
    return str(reader.path if reader.synonyms is not None and not beside.exists() else beside)


def _fit_pixels(part: ConfigDict, reader: StoreReader) -> None:
    """Decode and encode with the store's own tokenizer, and crop to images of its size."""
    size = image_size_of(reader)
    if size is None:
        raise ValueError(
            f"{reader.path} does not tell the size of the images that its tokens show, which PixelAugment crops to; "
            "use a store that tools/tokenize_images.py wrote, or a recipe without PixelAugment"
        )
    part.tokenizer = str(reader.path)
    fit_crops(part.augments, size)


def image_size_of(reader: StoreReader) -> tuple[int, int] | None:
    """Return height and width of the images that a store's tokens show, None if its header does not tell."""
    size = reader.header["tokenizer"].get("image_size")
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    return sides if len(sides) == 2 and all(type(side) is int and side > 0 for side in sides) else None


def _without_maps(node: Any) -> Iterator[ConfigDict]:
    """Yield every dict among augmentations, but for those that act on TokenAdapt's map or on pixels."""
    if isinstance(node, dict):
        yield node
        node = [] if type_name(node) in _ELSEWHERE else list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        yield from _without_maps(child)
