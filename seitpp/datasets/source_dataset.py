"""What the data sets of image files share: opening a source or a benchmark, and what is known of it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mmengine.dataset import force_full_init
from mmengine.logging import MMLogger

from seitpp.datasets.base import BatchedDataset, Origins
from seitpp.images.corruptions import Corruption
from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.ingest.sources.base import described_endings
from seitpp.ingest.sources.benchmarks import open_benchmark
from seitpp.ingest.sources.files import join
from seitpp.ingest.sources.merged import paths_of

_OF_BENCHMARKS = ("label_sets", "model_classes", "convention", "num_expected", "num_left_out", "remarks")


class SourceDataset(BatchedDataset):
    """Images with a class or without, from any source that `open_image_source` opens, or from a benchmark.

    `metainfo` holds `classes`, a hash of the images' names and labels, and `skipped_files` (those not taken for images,
    counted by ending); where they are used also `border` and `corruption`; of a benchmark its name (`benchmark`), and
    `label_sets`, `model_classes`, `convention`, `num_expected`, `num_left_out` and `remarks` of its `BenchmarkSource`.

    Args:
        source: What `open_image_source` opens: class folders, a list, tar files, arrays, or several with commas between
            them; relative to `data_root`.
        data_root: Folder that `source`, `root` and `classes_file` are relative to.
        split: Sub-folder of that name, or the split of a config.
        root: Folder of the paths in a list.
        classes_file: Class names, one per line, in the order of their indices; by default folders, sorted.
        unlabelled: Whether to leave labels out.
        max_pixels: Most pixels that an image may have.
        benchmark: Further options of `open_benchmark`, such as `name`, for a source that is a benchmark's folder.
        border: Pixels to cut from every side of an image before anything else; by default the benchmark's, else 0.
        corruption: Options of `seitpp.images.corruptions.Corruption`. An image's number is its index in the source,
            whatever part of it the data set is.
        **options: Of `BatchedDataset`: `metainfo`, `indices`, `lazy_init` and so on.
    """

    def __init__(
        self,
        source: str,
        data_root: str = "",
        split: str | None = None,
        root: str | None = None,
        classes_file: str | None = None,
        unlabelled: bool = False,
        max_pixels: int = MAX_PIXELS,
        benchmark: Mapping[str, Any] | None = None,
        border: int | None = None,
        corruption: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.source_options = {
            "path": ",".join(join(data_root, one) for one in paths_of(str(source))),
            "split": split,
            "root": None if root is None else join(data_root, root),
            "classes_file": None if classes_file is None else join(data_root, classes_file),
            "unlabelled": unlabelled,
            "max_pixels": max_pixels,
        }
        if border is not None and (type(border) is not int or border < 0):
            raise ValueError(f"border is {border!r}, expected a number of pixels from 0")
        self.benchmark, self.border = benchmark, border
        self.corruption = None if corruption is None else _called("corruption", Corruption, corruption)
        super().__init__(data_root=data_root, **options)

    def load_data_list(self) -> list[int]:
        self._source = source = self._open()
        if source.annotated:
            raise ValueError(
                f"{self.store_path} has label maps; {type(self).__name__} reads images with a class or without"
            )
        if source.skipped:
            MMLogger.get_current_instance().warning(
                f"{self.store_path}: not taken for images, by their ending: {described_endings(source.skipped)}; "
                "scores do not count them. Name a file in a list to read it whatever its ending"
            )
        self.border = getattr(source, "border", 0) if self.border is None else self.border
        self._metainfo = {**self._known_of(source), **self._metainfo}
        return list(range(len(source)))

    def _open(self) -> ImageSource:
        if self.benchmark is None:
            return open_image_source(**self.source_options)
        given = {name: value for name, value in self.source_options.items() if value is not None}
        if given.pop("unlabelled"):
            raise ValueError(f"{given['path']} is a benchmark, which is scored by its labels; leave unlabelled out")
        return _called("benchmark", open_benchmark, self.benchmark, **given)

    def _known_of(self, source: ImageSource) -> dict[str, Any]:
        known: dict[str, Any] = {"classes": source.classes, "images_sha256": source.fingerprint()}
        if source.skipped:
            known["skipped_files"] = dict(source.skipped)
        if self.benchmark is not None:
            known["benchmark"] = self.benchmark["name"]
            known |= {name: getattr(source, name) for name in _OF_BENCHMARKS}
        if self.border:
            known["border"] = self.border
        if self.corruption is not None:
            known["corruption"] = self.corruption.describe()
        return known

    @property
    def store_path(self) -> str:
        """What messages call the data: the source, with its split."""
        path, split = self.source_options["path"], self.source_options["split"]
        return path if split is None else f"{path} ({split})"

    @property
    @force_full_init
    def labels(self) -> np.ndarray | None:
        labels = self._source.labels
        return None if labels is None else labels[self.data_list]

    @force_full_init
    def origins(self) -> Origins:
        """Tell which image each item is: its index in a source of these names and labels."""
        indices = np.asarray(self.data_list, dtype=np.int64)
        return Origins((self._metainfo["images_sha256"],), np.zeros(len(indices), dtype=np.int64), indices)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        number, source = self.data_list[idx], self._source
        info = {"sample_idx": idx % len(self), "img_path": source.names[number]}
        return info if source.labels is None else {**info, "gt_label": int(source.labels[number])}


def _called(what: str, function: Callable[..., Any], options: Any, **further: Any) -> Any:
    """Call a function with options of a config; `what` names these in the message where they do not fit."""
    if not isinstance(options, Mapping):
        raise ValueError(f"{what} is {options!r}, expected a dict of options")
    try:
        inspect.signature(function).bind(**further, **options)
    except TypeError as error:  # an option that there is not, or none that must be
        raise ValueError(f"{what} is {dict(options)}: {error}") from None
    return function(**further, **options)
