"""Classes of a config as those of a store: outputs of heads, weights of classes, metrics, names and colours."""

from typing import Any

from mmengine.config import Config

from seitpp.engine.stores.augments import image_size_of
from seitpp.images.label_maps import label_map_metadata
from seitpp.io.config_file import dicts_in, type_name
from seitpp.storage import StoreReader
from seitpp.structures.grid_record import Sides, by

_HEADS = ("head", "decode_head", "auxiliary_head")
_PER_CLASS = ("class_weight", "pos_weight")


def fit_classifier(config: Config, preprocessor: Any, readers: list[StoreReader]) -> list[str]:
    """Let a classifier tell the classes of stores apart, the first of which trains it; return what to tell people."""
    train = readers[0]
    if (kind := train.header["labels"]["kind"]) != "class":
        held = "label maps" if kind == "segmentation" else "no labels"
        raise ValueError(
            f"{train.path} holds {held}, and a classifier learns one class per image; use a recipe of "
            + (
                "configs/segmentation/"
                if kind == "segmentation"
                else "configs/mtm/, which needs no labels, or label it"
            )
        )
    notes, count = [], len(train.classes or ())
    if not train.classes:
        count = 1 + max(int(reader.labels.max()) for reader in readers)
        notes.append(f"{train.path} names no classes: {count} are counted from the labels, up to the largest.")
    notes += _set_classes(config, count)
    preprocessor.num_classes = count
    return notes


def fit_segmentor(config: Config, reader: StoreReader, grid: Sides) -> list[str]:
    """Let a segmentor tell the classes of a store apart, in label maps of its size; return what to tell people."""
    if reader.channels is not None:
        raise ValueError(
            f"{reader.path} holds {reader.channels} integers per position, and segmentation reads codes; use a store "
            "of a tokenizer with a codebook, such as configs/tokenizers/patch_kmeans_8px_k512.py"
        )
    if reader.header["labels"]["kind"] != "segmentation":
        raise ValueError(
            f"{reader.path} holds no label maps, from which segmentation learns; make it from images with annotations "
            "(docs/segmentation.md)"
        )
    notes, before = [], _count(config)
    if reader.classes is None:
        notes.append(f"{reader.path} names no classes: those of the config stay, {before} of them.")
    else:
        notes += _set_classes(config, len(reader.classes))
        for dataset in _datasets(config):
            _drop_other_names(dataset, before, len(reader.classes))
    notes += _fit_label_maps(config, reader, grid)
    _fit_windows(config.model, grid)
    return notes


def _count(config: Config) -> int | None:
    return next((part.num_classes for name in _HEADS for part in _parts(config, name) if "num_classes" in part), None)


def _parts(config: Config, head: str) -> list[Any]:
    return list(dicts_in(config.model.get(head)))


def _datasets(config: Config) -> list[Any]:
    loaders = [config.get(f"{name}_dataloader") for name in ("train", "val", "test")]
    return [part for part in dicts_in(loaders) if type_name(part) == "TokenSegDataset"]


def _set_classes(config: Config, count: int) -> list[str]:
    notes = []
    for head in _HEADS:
        for part in _parts(config, head):
            for key in ("num_classes", "out_channels"):
                if part.get(key) is not None:
                    part[key] = count
            for key in _PER_CLASS:
                weights = part.get(key)
                if isinstance(weights, (list, tuple)) and len(weights) != count:
                    del part[key]
                    notes.append(
                        f"model.{head}: {key} is left out, {len(weights)} numbers where there are {count} classes."
                    )
    leave_out_topk(config, count)
    return notes


def leave_out_topk(config: Config, count: int) -> None:
    """Leave out accuracies that there are not among so many classes: there is no top-5 of three."""
    for name in ("val_evaluator", "test_evaluator"):
        for metric in dicts_in(config.get(name)):
            if "topk" in metric:
                topk = metric["topk"] if isinstance(metric["topk"], (list, tuple)) else (metric["topk"],)
                metric["topk"] = tuple(k for k in topk if k <= count) or (1,)


def _drop_other_names(dataset: Any, before: int | None, count: int) -> None:
    """Forget names and colours of another number of classes, so that the store's names and new colours are taken."""
    if before != count:
        dataset.preset = None
    if len((dataset.get("metainfo") or {}).get("classes") or ()) not in (0, count):
        dataset.metainfo = {k: v for k, v in dataset.metainfo.items() if k not in ("classes", "palette")}


def _fit_label_maps(config: Config, reader: StoreReader, grid: Sides) -> list[str]:
    """Bring label maps to the size of the store's images where the config resizes them, or training must."""
    size, before = image_size_of(reader), config.model.backbone.get("grid_size")
    old_grid = (before, before) if isinstance(before, int) else before
    for dataset in _datasets(config):
        if dataset.get("label_size") is not None:
            scaled = tuple(new * side // old for new, side, old in zip(grid, dataset.label_size, old_grid, strict=True))
            dataset.label_size = size or scaled
    loader = config.get("train_dataloader")
    kept = label_map_metadata(reader).get("size") == "kept"
    if not loader or size is None or not kept:
        return []
    notes = []
    for dataset in dicts_in(loader.dataset):
        if type_name(dataset) == "TokenSegDataset" and dataset.get("label_size") is None:
            dataset.label_size = size
            notes.append(
                f"{reader.path} keeps label maps in the sizes of their images: training brings them to {by(size)} "
                "(train_dataloader.dataset.label_size)."
            )
    return notes


def _fit_windows(model: Any, grid: Sides) -> None:
    """Let sliding windows, where a segmentor has some, be no larger than the grid; the network is made for a window."""
    options = model.get("test_cfg") or {}
    if options.get("mode") != "slide":
        return
    for key in ("crop_size", "stride"):
        options[key] = tuple(map(min, options[key], grid))
    model.backbone.grid_size = tuple(options["crop_size"])
