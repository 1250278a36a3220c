"""Bytes that a run's training data take on disk, counted from the real files that its config names.

Of a token store that is everything training needs: codes, every label and checksum, header, indices and the codebook,
but not label lists of validation, reports or the tokenizer's weights. Of image folders it is the files of the images,
whose labels are their folders. Nothing is built, decoded or run: paths of a config are only measured.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seitpp.images.recompressing import DEFAULT_QUALITY
from seitpp.ingest.shrink import MANIFEST
from seitpp.ingest.sources import open_image_source
from seitpp.ingest.sources.base import is_image_name
from seitpp.ingest.sources.files import is_url, list_files
from seitpp.ingest.sources.merged import paths_of
from seitpp.io.config_file import type_name
from seitpp.io.progress import progress_bar
from seitpp.io.text import shown, text_lines
from seitpp.io.untrusted import check_regular_file, parse_json_object, parsing, read_file
from seitpp.storage import SeitRelease, StoreReader, choose_subset, is_release

Find = Callable[[str], str]  # where a path of a config leads to
_MOST_LIST_BYTES = 1 << 28
_TOLD = 1000  # files between two calls that tell of progress
_SIZES = ("fraction", "count", "budget_bytes")
_SAME_IMAGES = ("RepeatDataset", "ClassBalancedDataset")


@dataclass(frozen=True)
class TrainingData:
    """What a run trained on.

    Attributes:
        paths: Stores or folders.
        is_pixels: Whether they are images, not tokens.
        num_images: Images that were used.
        image_bytes: Mean bytes per image, label and checksum included.
        fixed_bytes: Bytes that any number of images needs: header, codebook and tables of a store.
        code_bytes: Mean bytes of an image's codes alone; None for images.
        is_computed: Whether only a part of what lies on disk was used, so that its bytes are a share.
        made: What `tools/dataset_converters/shrink_images.py` did to the images, in words.
    """

    paths: tuple[str, ...]
    is_pixels: bool
    num_images: int
    image_bytes: float
    fixed_bytes: int = 0
    code_bytes: float | None = None
    is_computed: bool = False
    made: str = ""

    @property
    def num_bytes(self) -> int:
        """All bytes."""
        return self.fixed_bytes + round(self.num_images * self.image_bytes)

    @property
    def num_code_bytes(self) -> int | None:
        """Bytes of the codes alone."""
        return None if self.code_bytes is None else round(self.num_images * self.code_bytes)

    def part(self, num_images: int) -> "TrainingData":
        """Return the data of which that many images were used."""
        return self if num_images == self.num_images else replace(self, num_images=num_images, is_computed=True)


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
            self._measured[key] = _MEASURES[kind](path, *options)
        return self._measured[key]


def store_data(path: str, label_file: str | None = None) -> TrainingData:
    """Measure a token store or a release file."""
    if is_release(path):
        source: SeitRelease | StoreReader = SeitRelease(path, label_path=label_file, with_labels=False)
    elif os.path.isdir(path):
        source = StoreReader(path)
    else:
        raise FileNotFoundError(f"token store {path} does not exist; if it was moved, say so with --moved OLD=NEW")
    sizes, count = source.section_bytes, len(source)
    fixed = sizes["other"] + sizes["tables"]
    return TrainingData((path,), False, count, (source.num_bytes - fixed) / count, fixed, sizes["tokens"] / count)


def image_data(path: str) -> TrainingData:
    """Measure the image files below a folder."""
    if not os.path.isdir(path):
        if os.path.exists(path):
            raise ValueError(f"{path} is no folder of images, of which alone bytes are counted")
        raise FileNotFoundError(f"images {path} do not exist; if they were moved, say so with --moved OLD=NEW")
    names = [name for name in list_files(path) if is_image_name(name)]
    if not names:
        raise ValueError(f"{path} holds no images")
    return replace(_of_files(path, [os.path.join(path, name) for name in names]), made=_made(path))


def listed_data(path: str, list_file: str) -> TrainingData:
    """Measure the images that mmpretrain's list names, one line of `NAME CLASS` for each, in the folder `path`."""
    lines = text_lines(read_file(list_file, "list of images", at_most=_MOST_LIST_BYTES), list_file, "list of images")
    names = {line.rsplit(" ", 1)[0] for line in lines if line}
    if not names:
        raise ValueError(f"{list_file} lists no images")
    return _of_files(path, [os.path.join(path, name) for name in sorted(names)])


def source_data(path: str, split: str | None = None, root: str | None = None) -> TrainingData:
    """Measure what `open_image_source` opens: a folder, a list, or a file of many images, but no config."""
    folder = os.path.join(path, split) if split and os.path.isdir(os.path.join(path, split)) else path
    if os.path.isdir(folder) or not os.path.exists(path):
        return image_data(folder)
    if path.endswith(".py"):
        raise ValueError(f"{path} is a config, which would have to be run to count the bytes of its images")
    source = open_image_source(path, split=split, root=root, unlabelled=True)
    if source.listable:
        return _of_files(path, [os.path.join(source.root, name) for name in source.names])
    return TrainingData((path,), True, len(source), os.path.getsize(path) / len(source))


_MEASURES: dict[str, Callable[..., TrainingData]] = {
    "store": store_data,
    "images": image_data,
    "list": listed_data,
    "source": source_data,
}


def start_folder(work_folder: Path, work_dir: Any) -> Path:
    """Return the folder that a run was started in, if its work folder ends in what its config calls it."""
    parts = Path(work_dir).parts if isinstance(work_dir, str) and work_dir and not os.path.isabs(work_dir) else ()
    here = work_folder.absolute().parts
    is_told = parts and ".." not in parts and here[-len(parts) :] == parts
    return Path(*here[: -len(parts)]) if is_told else Path()


def _made(path: str) -> str:
    """Return what was done to a folder of images, as far as it says so; a damaged record says nothing."""
    record = os.path.join(path, MANIFEST)
    try:
        said = parse_json_object(read_file(record, "record", at_most=_MOST_LIST_BYTES), record).get("shrinking")
    except (ValueError, OSError):
        return ""
    done = {key: one for key, one in (said if isinstance(said, dict) else {}).items() if type(one) in (int, float)}
    words = []
    if "fraction" in done:
        words.append(f"random {100 * done['fraction']:.3g} %")
    if "count" in done:
        words.append(f"random {done['count']:,}")
    if "scale" in done:
        words.append(f"resolution x {done['scale']:g}")
    if "jpeg_quality" in done and ("scale" not in done or done["jpeg_quality"] != DEFAULT_QUALITY):
        words.append(f"JPEG quality {done['jpeg_quality']}")
    return ", ".join(words)


def _of_files(path: str, files: Sequence[str]) -> TrainingData:
    total = 0
    with progress_bar(f"measuring {path}", unit="files") as progress:
        for number, file in enumerate(files, 1):
            total += check_regular_file(file, "image").stat().st_size
            if number % _TOLD == 0:
                progress(number, len(files))
    return TrainingData((path,), True, len(files), total / len(files))


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
