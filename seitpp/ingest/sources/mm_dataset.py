"""Images of a data set that an mmpretrain or mmseg config describes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from seitpp.images.decoding import UnreadableImageError, to_eight_bit
from seitpp.images.label_maps import IGNORE_INDEX
from seitpp.ingest.sources.base import ImageSource, count_endings
from seitpp.ingest.sources.files import is_url, join, list_files
from seitpp.ingest.sources.labels import LARGEST_LABEL
from seitpp.io.config_file import read_config
from seitpp.io.untrusted import PARSER_ERRORS


class MMDatasetSource(ImageSource):
    """The data set of `SPLIT_dataloader` in a config; its pipeline is not run.

    Each sample is an image file (`img_path`) or an array (`img`, RGB, (H, W, 3) or grey (H, W), uint8), with a class
    (`gt_label`) or a label map (`seg_map_path`) if it has one.
    """

    kind = "mm-dataset"

    def __init__(self, config: str, split: str = "train", unlabelled: bool = False) -> None:
        cfg = read_config(config)
        loader = cfg.get(f"{split}_dataloader") or {}
        if not isinstance(loader, Mapping) or not isinstance(loader.get("dataset"), Mapping):
            raise ValueError(f"{config} has no {split}_dataloader with a dataset; choose another --split")
        self._config = config
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

    def _build(self, cfg: Config, dataset: dict[str, Any]) -> Any:
        scope = cfg.get("default_scope") or str(dataset.get("type", "")).rpartition(".")[0] or "mmengine"
        try:
            with DATASETS.switch_scope_and_registry(scope) as registry:
                return registry.build({**dataset, "pipeline": [], "lazy_init": False})
        except (*PARSER_ERRORS, AssertionError) as error:
            hint = "; name a plain one, not one that wraps others" if isinstance(error, (KeyError, TypeError)) else ""
            raise ValueError(
                f"{self._config}: the data set {dataset.get('type')!r} cannot be opened{hint}: {error}"
            ) from error

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
        elif all(isinstance(info.get("gt_label"), (int, np.integer)) for info in infos):
            end = LARGEST_LABEL + 1 if self.classes is None else len(self.classes)
            for name, info in zip(self.names, infos, strict=True):
                if not 0 <= info["gt_label"] < end:
                    raise ValueError(
                        f"{self._config}: the gt_label of {name} is {info['gt_label']}, expected a class index from 0 "
                        f"to {end - 1}"
                    )
            self.labels = np.array([info["gt_label"] for info in infos], np.int64)
        elif any(info.get("gt_label") is not None for info in infos):
            raise ValueError(
                f"{self._config}: the gt_label of {self.names[0]} is {infos[0]['gt_label']!r}, expected one class "
                "index; pass --unlabelled to leave labels out"
            )


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
