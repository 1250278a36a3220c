"""Any recipe on any token store: every size that a config repeats of its data is taken from the store's header."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from seitpp.io.config_file import dicts_in
from seitpp.storage import StoreReader
from seitpp.storage.tokenizer_entry import known_distance
from seitpp.structures.grid_record import by

# Share of the grid's side that a recipe with a crop keeps: 28 of 32.
_KEPT = 7 / 8
_CROPS = ("TokenRRC", "BatchRandomResizedCrop", "BatchCenterCrop")
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def use_stores(config: Config, train: str | Path, val: str | Path | None = None) -> None:
    """Let a config of a recipe train and validate on other stores than it names.

    Changes `config`: paths, codes K, values per code D or channels, grid and crop, classes, and with them the sizes of
    crops among the augmentations. Synonyms are looked for beside the training store, as `synonyms.json`. Options of the
    schedule stay.

    Args:
        config: A config whose data are `seitpp.TokenDataset`s.
        train: Store for training; its header counts.
        val: Store for validation and testing; by default they go on with what the config names.

    Raises:
        ValueError: There is no store at one of the paths, the two differ, their grid does not divide into patches, or
            the config's network cannot take what they hold.
    """
    reader = StoreReader(train)
    if val is not None:
        _check_alike(reader, StoreReader(val))
    _use_paths(config, str(train), None if val is None else str(val))
    backbone, preprocessor = config.model.backbone, config.data_preprocessor
    patch, cropped = backbone.get("patch_size", 1), preprocessor.get("crop_size") is not None
    crop = tuple(_crop(side, patch) if cropped else side for side in reader.grid)
    if any(side % patch or not side for side in crop):
        raise ValueError(f"{train}: {by(crop)} tokens do not divide into patches of {patch} x {patch}")
    preprocessor.crop_size = crop if cropped else None
    _set_codes(config, reader, str(train))
    backbone.grid_size = crop
    for part, size in (("neck", "num_patches"), ("head", "codebook_size")):  # which MTM takes from its backbone
        (config.model.get(part) or {}).pop(size, None)
    if reader.classes is not None and "num_classes" in config.model.get("head", {}):
        _set_classes(config, len(reader.classes))
    _fit_augments(preprocessor.get("augments") or [], reader, crop, Path(train))


def _crop(side: int, patch: int) -> int:
    return max(patch, round(side * _KEPT / patch) * patch)


def _check_alike(train: StoreReader, val: StoreReader) -> None:
    for name in ("codebook_size", "grid", "channels", "codebook_sha256", "classes"):
        first, second = getattr(train, name), getattr(val, name)
        if first != second:
            raise ValueError(
                f"{val.path} has another {name} than {train.path}: {_short(second)}, not {_short(first)}; train and "
                "validate on stores of one tokenizer and one class list"
            )


def _use_paths(config: Config, train: str, val: str | None) -> None:
    for name, store in zip(_LOADERS, (train, val, val), strict=True):
        dataset = (config.get(name) or {}).get("dataset")
        if dataset is None or store is None:
            continue
        if _kind(dataset) != "TokenDataset":
            raise ValueError(f"{name} reads a {dataset.type}; only seitpp.TokenDataset can be given another store")
        for key in ("codebook_size", "label_file"):
            dataset.pop(key, None)
        dataset.update(data_root="", store=store)


def _set_codes(config: Config, reader: StoreReader, path: str) -> None:
    backbone, preprocessor = config.model.backbone, config.data_preprocessor
    if reader.channels is not None:
        takes = "network embeds" if backbone.get("codebook_size") is not None else None
        if any(_kind(part) == "TokenEDA" for part in dicts_in(preprocessor.get("augments"))):
            takes = takes or "Token-EDA replaces"
        if takes is not None:
            raise ValueError(
                f"{path} holds {reader.channels} integers per position and no codes, which this config's {takes}; "
                "use a config for coefficients, such as configs/seit/seit_vit-small-p16_8xb128-300e_in100-dct.py"
            )
        preprocessor.update(codebook=None, channels=reader.channels)
        backbone.code_dim = reader.channels
        return
    if reader.codebook is None:
        raise ValueError(f"{path} carries no codebook; import or write it with one (docs/data.md)")
    preprocessor.update(codebook=path, channels=None)
    # A header that does not tell leaves the config's.
    preprocessor.distance = known_distance(reader.header["tokenizer"]) or preprocessor.get("distance", "cosine")
    if backbone.get("codebook_size") is None:
        backbone.code_dim = reader.codebook.shape[1]
    else:
        backbone.codebook_size = reader.codebook_size


def _set_classes(config: Config, count: int) -> None:
    config.model.head.num_classes = config.data_preprocessor.num_classes = count
    for name in ("val_evaluator", "test_evaluator"):
        for metric in dicts_in(config.get(name)):
            if "topk" in metric:  # there is no top-5 of three classes
                metric["topk"] = tuple(k for k in metric["topk"] if k <= count)


def _fit_augments(augments: Sequence[Any], reader: StoreReader, crop: tuple[int, int], train: Path) -> None:
    for part in _without_maps(augments):
        kind = _kind(part)
        if kind == "TokenEDA" and isinstance(part.synonyms, str):
            part.synonyms = str(train.parent / "synonyms.json")
        elif kind == "EmbNoise" and reader.codebook is None:
            part.relative = True  # values of no known scale
        elif kind == "PixelAugment":
            _fit_pixels(part, reader, train)
        elif kind == "TokenAdaptAugment":
            for size in ("codebook_size", "code_dim", "grid"):  # which it takes from the data
                part.token_adapt.pop(size, None)
            part.token_adapt.out_grid = crop
            _fit_crops(part.augments, (2 * crop[0], 2 * crop[1]))  # of its map, in which a token has 2 x 2 positions
        elif kind in _CROPS:
            part.size = crop


def _fit_crops(augments: Sequence[Any], size: tuple[int, int]) -> None:
    for part in dicts_in(augments):
        if _kind(part) in _CROPS:
            part.size = size


def _fit_pixels(part: ConfigDict, reader: StoreReader, train: Path) -> None:
    """Decode and encode with the store's own tokenizer, and crop to images of its size."""
    size = reader.header["tokenizer"].get("image_size")
    if size is None:
        raise ValueError(
            f"{train} does not tell the size of the images that its tokens show, which PixelAugment crops to; use a "
            "store that tools/tokenize_images.py wrote, or a recipe without PixelAugment"
        )
    part.tokenizer = str(train)
    _fit_crops(part.augments, tuple(size) if isinstance(size, (list, tuple)) else (size, size))


def _without_maps(node: Any) -> Iterator[ConfigDict]:
    """Yield every dict among augmentations, but for those that act on TokenAdapt's map or on pixels."""
    if isinstance(node, dict):
        yield node
        node = [] if _kind(node) in ("TokenAdaptAugment", "PixelAugment") else list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        yield from _without_maps(child)


def _kind(part: ConfigDict) -> str:
    return str(part.get("type")).split(".")[-1]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}..."
