"""Images of a data set that an mmpretrain or mmseg config describes."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, Registry
from PIL import Image

from seitpp.images.decoding import UnreadableImageError, to_eight_bit
from seitpp.images.label_maps import IGNORE_INDEX
from seitpp.images.recompressing import png_bytes
from seitpp.ingest.sources.base import ImageSource, count_endings
from seitpp.ingest.sources.files import is_url, join, list_files
from seitpp.ingest.sources.labels import LARGEST_LABEL
from seitpp.io.config_file import read_config
from seitpp.io.text import shown
from seitpp.io.untrusted import PARSER_ERRORS
from seitpp.structures.class_index import class_index

# Wrappers of mmengine, and ours of the same names, whose samples are those of another data set several times.
_REPEATING = ("RepeatDataset", "ClassBalancedDataset")


class MMDatasetSource(ImageSource):
    """The data set of `SPLIT_dataloader` in a config; its pipeline is not run.

    Each sample is an image file (`img_path`) or an array (`img`, RGB, (H, W, 3) or grey (H, W), uint8), with a class
    (`gt_label`) or a label map (`seg_map_path`) if it has one. Wrappers that repeat samples are passed over: a store
    holds each image once.
    """

    kind = "mm-dataset"

    def __init__(self, config: str, split: str = "train", unlabelled: bool = False) -> None:
        cfg = read_config(config)
        loader = cfg.get(f"{split}_dataloader") or {}
        if not isinstance(loader, Mapping) or not isinstance(loader.get("dataset"), Mapping):
            raise ValueError(f"{config} has no {split}_dataloader with a dataset; choose another --split")
        self._config = config
        self._notes: list[str] = []
        dataset = self._build(cfg, dict(loader["dataset"]))
        if not len(dataset):
            raise ValueError(f"{config}: the data set of the {split} split is empty")
        # What is used of a sample; the rest would fill the memory.
        kept = ("img_path", "img", "gt_label", "seg_map_path")
        samples = map(dataset.get_data_info, range(len(dataset)))
        infos = [{key: info[key] for key in kept if key in info} for info in samples]
        self._images = [info.get("img_path", info.get("img")) for info in infos]
        for info, image in zip(infos, self._images, strict=True):
            if not isinstance(image, str | np.ndarray):
                raise ValueError(f"{config}: samples have the fields {sorted(info)}, expected 'img_path' or 'img'")
        self.skipped = _files_left_out(dataset, self._images)
        self.names = [
            image if isinstance(image, str) else f"{Path(config).stem}/{split}/{number}"
            for number, image in enumerate(self._images)
        ]
        if not unlabelled:
            self._take_labels(dataset, infos)

    def load(self, index: int, in_channels: int) -> tuple[Image.Image, int]:
        """Return an image as RGB or grey, and its bytes (of the array, where there is no file)."""
        image = self._images[index]
        if isinstance(image, str):
            return super().load(index, in_channels)
        if image.dtype != np.uint8:
            raise UnreadableImageError(f"it is an array of {image.dtype}, expected uint8")
        return to_eight_bit(Image.fromarray(image), in_channels), image.nbytes

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file, of a PNG file for an array."""
        image = self._images[index]
        return super().read(index) if isinstance(image, str) else png_bytes(Image.fromarray(image))

    def warnings(self) -> list[str]:
        return self._notes + super().warnings()

    def _build(self, cfg: Config, dataset: dict[str, Any]) -> Any:
        scope = cfg.get("default_scope") or str(dataset.get("type", "")).rpartition(".")[0] or "mmengine"
        try:
            with DATASETS.switch_scope_and_registry(scope) as registry, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of how the libraries read files
                return registry.build(self._without_pipelines(dataset, registry))
        except (*PARSER_ERRORS, AssertionError, RuntimeError) as error:
            raise ValueError(
                f"{self._config}: the data set {dataset.get('type')!r} cannot be opened: {error}"
            ) from error

    def _without_pipelines(self, dataset: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
        """Return the config of a data set with nothing to run, and of one that repeats another, of the other."""
        built, dataset = dataset.get("type"), dict(dataset)
        if isinstance(built, str) and built:
            built = registry.get(built)
        kind = getattr(built, "__name__", "")
        if kind in _REPEATING and isinstance(dataset.get("dataset"), Mapping):
            self._notes.append(f"{kind} repeats images, and a store holds each once: it was passed over")
            return self._without_pipelines(dataset["dataset"], registry)
        for key in ("dataset", "datasets"):
            if isinstance(inner := dataset.get(key), Mapping):
                dataset[key] = self._without_pipelines(inner, registry)
            elif isinstance(inner, (list, tuple)):
                dataset[key] = [self._without_pipelines(one, registry) for one in inner]
        if dataset.keys() & {"dataset", "datasets"}:
            return dataset
        if any(base.__module__ == "mmpretrain.datasets.cifar" for base in getattr(built, "__mro__", ())):
            raise ValueError(
                "it reads pickled files, which can run code. Take CIFAR's binary version as SOURCE "
                "(cifar-10-binary.tar.gz or cifar-100-binary.tar.gz, unpacked), or a .npz file of the images and labels"
            )
        if str(dataset.get("ann_file", "")).endswith((".pkl", ".pickle")):
            raise ValueError(f"{dataset['ann_file']} is a pickle, which can run code; save the annotations as JSON")
        if "download" in getattr(getattr(built, "__init__", None), "__annotations__", {}):
            dataset.setdefault("download", False)  # only where the config says so
        return {**dataset, "pipeline": [], "lazy_init": False}

    def _take_labels(self, dataset: Any, infos: list[dict[str, Any]]) -> None:
        metainfo = dataset.metainfo
        self.classes = list(metainfo["classes"]) if metainfo.get("classes") else None
        for name in ("seg_map_path", "gt_label"):
            lacking = [index for index, info in enumerate(infos) if info.get(name) is None]
            if 0 < len(lacking) < len(infos):
                raise ValueError(f"{self._config}: {self.names[lacking[0]]} has no {name}, others have one")
        if all(info.get("seg_map_path") for info in infos):
            if getattr(dataset, "label_map", None):  # mmseg's, of a data set with some of its classes
                raise ValueError(
                    f"{self._config}: the data set renumbers its classes, which are not renumbered in label maps here; "
                    "leave out the classes in its metainfo"
                )
            if (ignored := getattr(dataset, "ignore_index", IGNORE_INDEX)) != IGNORE_INDEX:
                raise ValueError(
                    f"{self._config}: the data set's ignore_index is {ignored}, but stores take {IGNORE_INDEX} for "
                    "ignored pixels; change the value in the label maps, and leave the option out"
                )
            self.label_maps = [info["seg_map_path"] for info in infos]
            self.reduce_zero_label = bool(getattr(dataset, "reduce_zero_label", False))
        elif any(info.get("gt_label") is not None for info in infos):
            self.labels = self._class_indices([info["gt_label"] for info in infos])

    def _class_indices(self, labels: list[Any]) -> np.ndarray:
        """Return the class of each sample, (N,), int64."""
        indices = [class_index(label) for label in labels]
        end = LARGEST_LABEL + 1 if self.classes is None else len(self.classes)
        if wrong := [number for number, index in enumerate(indices) if index is None]:
            example = max(wrong, key=lambda number: len(str(labels[number])))
            raise ValueError(
                f"{self._config}: the gt_label of {self.names[example]} is {shown(labels[example])}, expected one "
                "class index. A store keeps one class per image: give each image one, or pass --unlabelled to leave "
                "labels out"
            )
        for name, index in zip(self.names, indices, strict=True):
            if not 0 <= index < end:
                raise ValueError(
                    f"{self._config}: the gt_label of {name} is {index}, expected a class index from 0 to {end - 1}"
                )
        return np.array(indices, np.int64)


def _files_left_out(dataset: Any, images: list[str | np.ndarray]) -> dict[str, int]:
    """Count the endings of the files in the data set's folder that are no samples, where it took what it found there.

    The data sets of mmpretrain and mmseg take endings of their own choice. With an annotation file, what is left out
    is left out on purpose.
    """
    prefix = getattr(dataset, "data_prefix", None)
    if getattr(dataset, "ann_file", "") or not isinstance(prefix, Mapping):
        return {}
    taken = {os.path.realpath(image) for image in images if isinstance(image, str)}
    folder = prefix.get("img_path") or prefix.get("img")
    if not taken or not isinstance(folder, str) or is_url(folder) or not os.path.isdir(folder):
        return {}
    return count_endings(name for name in list_files(folder) if os.path.realpath(join(folder, name)) not in taken)
