"""Any recipe on any token store: every size that a config repeats of its data is taken from the store's header."""

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from seitpp.engine.stores.augments import fit_augments, kept_side
from seitpp.engine.stores.classes import fit_classifier, fit_segmentor
from seitpp.engine.stores.find import TOKEN_DATASETS
from seitpp.engine.stores.token_adapt import use_tokenizer_of
from seitpp.io.config_file import dicts_in, type_name
from seitpp.io.text import shown
from seitpp.storage import StoreReader
from seitpp.storage.tokenizer_entry import known_distance
from seitpp.structures.grid_record import Sides, as_sides, by

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def use_stores(config: Config, train: str | Path, val: str | Path | None = None) -> list[str]:
    """Let a config of a recipe train and validate on other stores than it names.

    Changes `config`: paths, codes K, values per code D or channels, grid and crop, classes, and with them the sizes of
    crops among the augmentations. Synonyms are looked for beside the training store, as `synonyms.json`, and in it.
    Options of the schedule stay. A config that trains TokenAdapt takes the store's tokenizer, and with it the size of
    images and maps; its images stay the config's.

    Args:
        config: A config whose data are `seitpp.TokenDataset`s or `seitpp.TokenSegDataset`s, or that trains TokenAdapt.
        train: Store for training; its header counts.
        val: Store for validation and testing; by default they go on with what the config names.

    Returns:
        What the run takes, and what was chosen where a header does not tell, in sentences.

    Raises:
        ValueError: There is no store at one of the paths, the two differ, their grid does not divide into patches, or
            the config's network cannot take what they hold.
    """
    _check_kind(config)
    readers = [StoreReader(path) for path in (train, val) if path is not None]
    if val is not None:
        _check_alike(*readers)
    if "token_adapt" in config.model:
        return use_tokenizer_of(config, readers[0])
    _use_paths(config, str(train), None if val is None else str(val))
    reader, backbone = readers[0], config.model.backbone
    preprocessor = config.model.get("data_preprocessor") or config.data_preprocessor
    crop = _crop_of(config, preprocessor, reader)
    before = backbone.get("grid_size")
    notes = [_summary(reader, val, crop)]
    if "decode_head" in config.model:
        notes += fit_segmentor(config, reader, crop)
    if "num_classes" in (config.model.get("head") or {}):
        notes += fit_classifier(config, preprocessor, readers)
    if backbone.get("grid_size") == before:  # and no window, which is smaller
        backbone.grid_size = crop
    if preprocessor.get("crop_size") is not None or crop != reader.grid:
        preprocessor.crop_size = crop
    _set_codes(backbone, preprocessor, reader)
    for part, size in (("neck", "num_patches"), ("head", "codebook_size")):  # which MTM takes from its backbone
        (config.model.get(part) or {}).pop(size, None)
    fit_augments(preprocessor.get("augments") or [], reader, crop)
    return notes


def _summary(reader: StoreReader, val: str | Path | None, crop: Sides) -> str:
    if reader.codebook is not None:
        held = f"{by(reader.grid)} codes, K = {reader.codebook_size}"
    else:
        held = f"{by(reader.grid)} positions of {reader.channels} integers"
    cut = "" if crop == reader.grid else f", of which the network sees {by(crop)}"
    tested = "" if val is None else f" Validation and tests read {val}."
    return f"Sizes are those of {reader.path}: {held}{cut}.{tested}"


def _check_kind(config: Config) -> None:
    """Refuse a config that reads no tokens."""
    name, model = config.filename or "the config", config.get("model") or {}
    if type_name(model) == "VQTokenizerTrainer" or (not model and "tokenizer" in config):
        remedy = "tools/tokenize_images.py makes stores with it"
        if model:
            remedy = "give images with --cfg-options train_dataloader.dataset.data_root=DIR"
        raise ValueError(
            f"--store: {name} is that of a tokenizer, which knows images alone, and a store holds what one made of "
            f"them; {remedy}"
        )
    read = {type_name(part) for key in (*_LOADERS, "default_hooks") for part in dicts_in(config.get(key))}
    if "token_adapt" not in model and not (read & set(TOKEN_DATASETS) and "backbone" in model):
        raise ValueError(
            f"--store: {name} reads no token store (seitpp.TokenDataset, seitpp.TokenSegDataset); see configs/ for "
            "recipes that do"
        )


def _crop_of(config: Config, preprocessor: Any, reader: StoreReader) -> Sides:
    """Return the tokens that are kept, in whole patches: the grid of a segmentor, and about 7/8 of any other.

    A recipe that keeps the whole grid goes on to do so where the store has the same.
    """
    patch, grid = config.model.backbone.get("patch_size", 1), reader.grid
    own = as_sides(config.model.backbone.get("grid_size"), "model.backbone.grid_size")
    is_own = preprocessor.get("crop_size") is None and own == grid
    crop = grid if is_own or "decode_head" in config.model else tuple(kept_side(side, patch) for side in grid)
    if any(side % patch or not side for side in crop):
        found = crop if all(crop) else grid
        raise ValueError(f"{reader.path}: {by(found)} tokens do not divide into patches of {patch} x {patch}")
    return crop


def _check_alike(train: StoreReader, val: StoreReader) -> None:
    for name in ("codebook_size", "grid", "channels", "codebook_sha256", "classes"):
        first, second = getattr(train, name), getattr(val, name)
        if first != second:
            raise ValueError(
                f"{val.path} has another {name} than {train.path}: {shown(second, 77)}, not {shown(first, 77)}; train "
                "and validate on stores of one tokenizer and one class list"
            )


def _use_paths(config: Config, train: str, val: str | None) -> None:
    loaders = [(name, config.get(name)) for name in _LOADERS]
    hooks = [(name, hook) for name, hook in (config.get("default_hooks") or {}).items()]  # which may learn, too
    for name, owner in (*loaders, *hooks):
        node = owner.get("dataset") if isinstance(owner, dict) else None
        store = val if name in _LOADERS[1:] else train
        if node is None or store is None:
            continue
        datasets = [part for part in dicts_in(node) if type_name(part) in TOKEN_DATASETS]
        if len(datasets) != 1:
            found = f"reads {len(datasets)} token stores" if datasets else f"reads a {node.get('type')}"
            raise ValueError(
                f"{name} {found}; --store takes the place of one seitpp.TokenDataset or seitpp.TokenSegDataset"
            )
        for key in ("codebook_size", "label_file", "grid"):
            datasets[0].pop(key, None)
        datasets[0].update(data_root="", store=store)


def _set_codes(backbone: ConfigDict, preprocessor: ConfigDict, reader: StoreReader) -> None:
    if reader.channels is not None:
        takes = "network embeds" if backbone.get("codebook_size") is not None else None
        if any(type_name(part) == "TokenEDA" for part in dicts_in(preprocessor.get("augments"))):
            takes = takes or "Token-EDA replaces"
        if takes is not None:
            raise ValueError(
                f"{reader.path} holds {reader.channels} integers per position and no codes, which this config's "
                f"{takes}; use a config for coefficients, such as "
                "configs/seit/seit_vit-small-p16_8xb128-300e_in100-dct.py"
            )
        preprocessor.update(codebook=None, channels=reader.channels)
        backbone.code_dim = reader.channels
        return
    if reader.codebook is None:
        raise ValueError(f"{reader.path} carries no codebook; import or write it with one (docs/data.md)")
    preprocessor.update(codebook=str(reader.path), channels=None)
    # A header that does not tell leaves the config's.
    preprocessor.distance = known_distance(reader.header["tokenizer"]) or preprocessor.get("distance", "cosine")
    if preprocessor.get("tokenizer") is not None and "type" in reader.header["tokenizer"]:
        preprocessor.tokenizer = str(reader.path)
    if backbone.get("codebook_size") is None:
        backbone.code_dim = reader.codebook.shape[1]
    else:
        backbone.codebook_size = reader.codebook_size
