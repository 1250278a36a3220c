"""A data set of stored tokens with a label map per sample, for semantic segmentation."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from seitpp.datasets.resident import refuse_device
from seitpp.datasets.token_dataset import TokenDataset
from seitpp.images.label_maps import (
    IGNORE_INDEX,
    checked_labels,
    distinct_colours,
    label_map_metadata,
    label_map_path,
    read_label_map,
    require_label_maps,
)
from seitpp.images.resizing import fit_image
from seitpp.io.text import shorten
from seitpp.registry import DATASETS
from seitpp.storage import StoreReader
from seitpp.structures.batch import TokenBatch


@DATASETS.register_module()
class TokenSegDataset(TokenDataset):
    """Codes of a whole batch in one read, and label maps decoded in the process that fetches (workers help here).

    Label maps keep the size they are stored in unless `label_size` says otherwise, and in a batch may differ in size.
    `metainfo` adds to `TokenDataset`'s: `classes`, `palette` (one colour per class), `label_ignore_index` (255) and, if
    the store says it, how label maps were made: `label_maps`, with `size` and `reduce_zero_label`.

    Args:
        store: A token store of images with annotations, relative to `data_root`.
        data_root: Folder that `store` is relative to.
        preset: Set whose colours, and class names where the store has none, are those of mmseg, such as `ade20k`.
        label_size: Height and width to bring label maps to, by nearest neighbour, as training needs where they were
            stored in the sizes of their images; predictions are scored at this size.
        reduce_zero_label: For configs that carry mmseg's option over; must be False, since label maps are shifted
            once, when the store is made.
        device: For configs that carry `TokenDataset`'s option over; must be None, since label maps are read from files.
        **options: Of `TokenDataset`: `subset`, `keep_length`, `metainfo` (as many `classes` as the store has names, if
            it has any, and their `palette`) and so on.
    """

    def __init__(
        self,
        store: str,
        data_root: str = "",
        preset: str | None = None,
        label_size: Sequence[int] | None = None,
        reduce_zero_label: bool = False,
        device: str | None = None,
        **options: Any,
    ) -> None:
        refuse_device(device, "TokenSegDataset", "label maps are decoded from files, beside which tokens cost little")
        self.preset = preset
        self.label_size = None if label_size is None else tuple(label_size)
        if self.label_size is not None and (len(self.label_size) != 2 or min(self.label_size) < 1):
            raise ValueError(f"label_size is {self.label_size}, expected a height and a width in pixels, or None")
        self.reduce_zero_label = reduce_zero_label
        super().__init__(store, data_root=data_root, **options)

    def _open(self) -> StoreReader:
        if self.is_release:
            raise ValueError(f"{self.store_path} is a release file, which has no label maps; expected a token store")
        reader = self._open_store()
        require_label_maps(reader)
        label_maps = label_map_metadata(reader)
        self._shifted = label_maps.get("reduce_zero_label", False)
        if self.reduce_zero_label:
            raise ValueError(
                f"reduce_zero_label=True: {self.store_path} was made with --reduce-zero-label, and shifting its labels "
                "again would lose a class; leave it out"
                if self._shifted
                else f"reduce_zero_label=True: labels are shifted once, when a store is made; make {self.store_path} "
                "again with --reduce-zero-label, and leave it out here"
            )
        if reader.channels is not None:
            raise ValueError(f"{self.store_path} holds {reader.channels} integers per position, expected codes")
        metadata = {**self._name_classes(reader), "label_ignore_index": IGNORE_INDEX}
        if label_maps:
            metadata["label_maps"] = {**label_maps, **({"size": list(self.label_size)} if self.label_size else {})}
        self._metainfo = {**metadata, **self._metainfo}
        self._num_classes = len(self._metainfo["classes"])
        return reader

    def _name_classes(self, reader: StoreReader) -> dict:
        """Return `classes` and `palette` of the config, the store or the preset, in this order."""
        known = {} if self.preset is None else preset_metainfo(self.preset)
        classes = self._metainfo.get("classes") or reader.classes or known.get("classes")
        if not classes:
            raise ValueError(
                f"{self.store_path} does not name its classes; give metainfo=dict(classes=[...]), preset='ade20k' or "
                "that of another set, or make the store with --classes FILE"
            )
        palette = self._metainfo.get("palette") or known.get("palette") or distinct_colours(len(classes))
        for source, count in (
            ("class names in the store", len(reader.classes or classes)),
            (f"classes of preset {self.preset!r}", len(known.get("classes", classes))),
            ("colours in the palette", len(palette)),
        ):
            if count != len(classes):
                raise ValueError(f"{self.store_path}: {len(classes)} classes, but {count} {source}")
        if len(classes) > IGNORE_INDEX:
            raise ValueError(
                f"{self.store_path} has {len(classes)} classes, expected at most {IGNORE_INDEX}: {IGNORE_INDEX} in a "
                "label map means ignore"
            )
        return {"classes": list(classes), "palette": [list(colour) for colour in palette]}

    @force_full_init
    def __getitems__(self, indices: Sequence[int]) -> TokenBatch:
        """Fetch a batch: codes `inputs` (B, H, W), and `data_samples` with label maps `gt_sem_seg` (1, h, w), uint8."""
        batch = super().__getitems__(indices)
        return {
            "inputs": batch["inputs"],
            "data_samples": [self._data_sample(index) for index in batch["sample_idx"].tolist()],
        }

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return what is known of one sample, and the file of its label map; reads neither."""
        info = super().get_data_info(idx)
        return {
            **info,
            "img_path": osp.join(self.store_path, f"{info['store_index']:08d}"),
            "seg_map_path": str(label_map_path(self.store_path, info["store_index"])),
            "reduce_zero_label": False,  # for mmseg's metric: nothing to undo
        }

    def _data_sample(self, idx: int) -> SegDataSample:
        info = self.get_data_info(idx)
        path = info["seg_map_path"]
        values = read_label_map(path, self.reader.read_label_map(info["store_index"]))
        labels = checked_labels(values, self._num_classes, path, self._shifted)
        if self.label_size is not None:
            labels = np.array(fit_image(Image.fromarray(labels), self.label_size, resample=Image.Resampling.NEAREST))
        # mmseg resizes predictions to these.
        sample = SegDataSample(metainfo={**info, "img_shape": labels.shape, "ori_shape": labels.shape})
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        return sample


def preset_metainfo(name: str) -> dict[str, list]:
    """Return class names and colours (RGB) of a set that mmseg knows by a name, such as `ade20k`."""
    from mmseg.utils import dataset_aliases, get_classes, get_palette

    known = sorted(alias for aliases in dataset_aliases.values() for alias in aliases)
    if name not in known:
        raise ValueError(f"preset is {name!r}, expected a set whose classes mmseg knows: {shorten(known, len(known))}")
    return {"classes": list(get_classes(name)), "palette": [list(colour) for colour in get_palette(name)]}
