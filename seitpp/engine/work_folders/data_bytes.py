"""The training data that a run's config names, and their bytes. Nothing is built or run: paths are only measured."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seitpp.engine.work_folders.measuring import MEASURES, TrainingData
from seitpp.ingest.sources.files import is_url
from seitpp.ingest.sources.merged import paths_of
from seitpp.io.config_file import type_name
from seitpp.io.text import shown
from seitpp.io.untrusted import parsing
from seitpp.storage import choose_subset

Find = Callable[[str], str]  # where a path of a config leads to
_SIZES = ("fraction", "count", "budget_bytes")
_SAME_IMAGES = ("RepeatDataset", "ClassBalancedDataset")


@dataclass
class DataPlaces:
    """Where the paths of configs lead to now, and what was measured there.

    Attributes:
        root: Folder that relative paths begin in; by default where the run was started, as far as its work folder
            tells, else the current folder.
        moved: Beginnings of paths, as configs have them, and what they are now.
    """

    root: Path | None = None
    moved: Mapping[str, str] = field(default_factory=dict)
    _measured: dict[tuple, TrainingData] = field(default_factory=dict, repr=False)

    def find(self, path: str, work_folder: Path, work_dir: Any) -> str:
        """Return where a path of a config leads to; `work_dir` is what the config calls its work folder."""
        for old, new in self.moved.items():
            if path == old or path.startswith(old.rstrip("/") + "/"):
                return new + path[len(old.rstrip("/")) :]
        if os.path.isabs(path) or is_url(path):
            return path
        root = self.root or start_folder(work_folder, work_dir)
        return path if root == Path() else os.path.join(root, path)

    def measure(self, config: Mapping[str, Any], work_folder: Path) -> TrainingData:
        """Return the training data of a config.

        Raises:
            ValueError: Its data set is none whose bytes can be told, or a store is damaged or of another version.
            OSError: What it names is not there, or cannot be read.
        """
        loader = config.get("train_dataloader")
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        if not isinstance(dataset, Mapping):
            raise ValueError("its config names no training data (train_dataloader.dataset)")
        return self._dataset(dataset, lambda path: self.find(path, work_folder, config.get("work_dir")))

    def _dataset(self, dataset: Mapping[str, Any], find: Find) -> TrainingData:
        kind = type_name(dataset)
        if kind == "ConcatDataset":
            return _joined([self._dataset(one, find) for one in _parts(dataset, "datasets")])
        if kind in _SAME_IMAGES:
            return self._dataset(_parts(dataset, "dataset")[0], find)
        if kind == "SubsetDataset":
            return _subset(self._dataset(_parts(dataset, "dataset")[0], find), dataset)
        if kind == "TokenDataset":
            data = self._store(dataset, find)
        elif kind in ("PixelDataset", "ImageDataset"):
            data = self._source(dataset, find)
        elif kind in ("CustomDataset", "ImageNet", "ImageNet21k"):
            data = self._folder(dataset, find)
        else:
            raise ValueError(
                f"bytes of a {kind or 'data set without a type'} are not counted; known are TokenDataset, "
                "PixelDataset, ImageDataset, CustomDataset and ImageNet, and wrappers of them"
            )
        data = _chosen(data, dataset.get("indices"))
        return _subset(data, dataset["subset"]) if dataset.get("subset") else data

    def _store(self, dataset: Mapping[str, Any], find: Find) -> TrainingData:
        path = find(os.path.join(_text(dataset, "data_root"), _text(dataset, "store")))
        labels = _text(dataset, "label_file")
        return self._known("store", path, find(os.path.join(_text(dataset, "data_root"), labels)) if labels else None)

    def _source(self, dataset: Mapping[str, Any], find: Find) -> TrainingData:
        base, root = _text(dataset, "data_root"), _text(dataset, "root")
        others = (_text(dataset, "split") or None, find(os.path.join(base, root)) if root else None)
        paths = [find(os.path.join(base, one)) for one in paths_of(_text(dataset, "source"))]
        return _joined([self._known("source", path, *others) for path in paths])

    def _folder(self, dataset: Mapping[str, Any], find: Find) -> TrainingData:
        """Measure mmpretrain's folder of images, or the list of those in it that count."""
        base, prefix = _text(dataset, "data_root"), dataset.get("data_prefix") or _text(dataset, "split")
        prefix = prefix.get("img_path", "") if isinstance(prefix, Mapping) else prefix
        images = find(os.path.join(base, _text({"data_prefix": prefix}, "data_prefix")))
        if listed := _text(dataset, "ann_file"):
            return self._known("list", images, find(os.path.join(base, listed)))
        return self._known("images", images)

    def _known(self, kind: str, path: str, *options: Any) -> TrainingData:
        """Measure what lies at a path, once."""
        if is_url(path):
            raise ValueError(f"{path} is a URL, of which bytes are not counted; name a copy of it with --moved")
        key = (kind, path, *options)
        if key not in self._measured:
            self._measured[key] = MEASURES[kind](path, *options)
        return self._measured[key]


def start_folder(work_folder: Path, work_dir: Any) -> Path:
    """Return the folder that a run was started in, if its work folder ends in what its config calls it."""
    parts = Path(work_dir).parts if isinstance(work_dir, str) and work_dir and not os.path.isabs(work_dir) else ()
    here = work_folder.absolute().parts
    is_told = parts and ".." not in parts and here[-len(parts) :] == parts
    return Path(*here[: -len(parts)]) if is_told else Path()


def _joined(parts: Sequence[TrainingData]) -> TrainingData:
    """Return data of several parts, each store or folder once."""
    parts = list(dict.fromkeys(parts))
    if len(parts) == 1:
        return parts[0]
    if len({one.is_pixels for one in parts}) != 1:
        raise ValueError("its training data are tokens and images together, whose bytes are not compared")
    count = sum(one.num_images for one in parts)
    codes = None if parts[0].is_pixels else sum(one.num_code_bytes for one in parts) / count
    return TrainingData(
        tuple(path for one in parts for path in one.paths),
        parts[0].is_pixels,
        count,
        sum(one.num_images * one.image_bytes for one in parts) / count,
        sum(one.fixed_bytes for one in parts),
        codes,
        any(one.is_computed for one in parts),
    )


def _chosen(data: TrainingData, indices: Any) -> TrainingData:
    """Return the part that mmengine's option `indices` keeps: the first or last so many, or those listed."""
    if indices is None:
        return data
    if isinstance(indices, int):
        return data.part(min(abs(indices), data.num_images))
    if isinstance(indices, (list, tuple)) and all(isinstance(one, int) for one in indices):
        return data.part(len({one % data.num_images for one in indices}))
    raise ValueError(f"indices of its training data are {shown(indices)}, expected a number or a list of numbers")


def _subset(data: TrainingData, options: Any) -> TrainingData:
    """Return the part that options of `choose_subset` keep."""
    with parsing("the subset of its training data", "options such as fraction=0.2"):
        size = {name: options[name] for name in _SIZES if options.get(name) is not None}
        per_image = data.num_bytes / data.num_images
        return data.part(len(choose_subset(data.num_images, None, per_image, **size)))


def _parts(dataset: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = dataset.get(key)
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    if not parts or not all(isinstance(one, Mapping) for one in parts):
        raise ValueError(f"{key} of its {type_name(dataset)} is {shown(value)}, expected configs of data sets")
    return parts


def _text(dataset: Mapping[str, Any], key: str) -> str:
    value = dataset.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f"{key} of its training data is {shown(value)}, expected text")
    return value
