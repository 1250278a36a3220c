"""Image files as pixels that a tokenizer takes, fetched a whole batch at a time: scoring without a token store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init
from mmengine.logging import MMLogger

from seitpp.datasets.base import BatchedDataset, Origins
from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest.loading import Fitting, ImageBatches
from seitpp.ingest.sources import open_image_source
from seitpp.ingest.sources.base import described_endings
from seitpp.ingest.sources.files import join
from seitpp.ingest.sources.merged import paths_of
from seitpp.io.text import shorten
from seitpp.registry import DATASETS, TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers.from_store import outline_from_header
from seitpp.tokenizers.identity import settings_identity

# Options whose values are weights or are compared with weights.
_OF_WEIGHTS = ("checkpoint", "code_subset", "codebook", "fit")


@DATASETS.register_module()
class ImageDataset(BatchedDataset):
    """Images and labels; the data preprocessor tokenises them on the device, as a store of them would hold them.

    Files are read as `tools/tokenize_images.py` reads them, by worker processes where the loader has any (with
    `seitpp.identity_collate`). An image that cannot be read is an error, unless `replace_unreadable`: a score must not
    depend on what was left out.
    `metainfo` holds `classes`, `image_size`, a hash of the images' names and labels, `skipped_files` (those not taken
    for images, counted by ending), and the identity of the `tokenizer`.

    Args:
        source: What `open_image_source` opens: class folders, a list, tar files, arrays, or several with commas between
            them; relative to `data_root`.
        tokenizer: What the images are fitted for: a tokenizer's config, or a token store that it made. Weights are not
            read.
        data_root: Folder that `source`, `root` and `classes_file` are relative to.
        split: Sub-folder of that name, or the split of a config.
        root: Folder of the paths in a list.
        classes_file: Class names, one per line, in the order of their indices; by default folders, sorted.
        unlabelled: Whether to leave labels out.
        max_pixels: Most pixels that an image may have.
        replace_unreadable: Whether another image of the batch stands for one that cannot be read; for training that
            looks at images alone.
        **options: Of `BatchedDataset`: `metainfo`, `indices`, `lazy_init` and so on.
    """

    def __init__(
        self,
        source: str,
        tokenizer: dict | str | Path,
        data_root: str = "",
        split: str | None = None,
        root: str | None = None,
        classes_file: str | None = None,
        unlabelled: bool = False,
        max_pixels: int = MAX_PIXELS,
        replace_unreadable: bool = False,
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
        self.tokenizer_config = tokenizer
        self.replace_unreadable = replace_unreadable
        super().__init__(data_root=data_root, **options)

    def load_data_list(self) -> list[int]:
        source = open_image_source(**self.source_options)
        if source.annotated:
            raise ValueError(f"{self.store_path} has label maps; ImageDataset reads images with a class or without")
        if source.skipped:
            MMLogger.get_current_instance().warning(
                f"{self.store_path}: not taken for images, by their ending: {described_endings(source.skipped)}; "
                "scores do not count them. Name a file in a list to read it whatever its ending"
            )
        fitting = fitting_of(self.tokenizer_config)
        self._batches = ImageBatches(source, fitting)
        metadata = {
            "classes": source.classes,
            "image_size": list(fitting.image_size),
            "images_sha256": source.fingerprint(),
            "tokenizer": _identity_of(self.tokenizer_config),
            **({"skipped_files": dict(source.skipped)} if source.skipped else {}),
        }
        self._metainfo = {**metadata, **self._metainfo}
        return list(range(len(source)))

    @property
    def store_path(self) -> str:
        """What messages call the data: the source, with its split."""
        path, split = self.source_options["path"], self.source_options["split"]
        return path if split is None else f"{path} ({split})"

    @property
    @force_full_init
    def labels(self) -> np.ndarray | None:
        labels = self._batches.source.labels
        return None if labels is None else labels[self.data_list]

    @force_full_init
    def origins(self) -> Origins:
        """Tell which image each item is: its index in a source of these names and labels."""
        indices = np.asarray(self.data_list, dtype=np.int64)
        return Origins((self._metainfo["images_sha256"],), np.zeros(len(indices), dtype=np.int64), indices)

    @force_full_init
    def __getitems__(self, indices: Sequence[int]) -> TokenBatch:
        """Read a batch: `images` (B, C, H, W), uint8, indices (B,), and labels (B,) where there are any.

        An image that cannot be read is a `ValueError`; an `OSError` where the machine or the network is at fault.
        """
        numbers = np.asarray([self.data_list[index] for index in indices], dtype=np.int64)
        loaded = self._batches.__getitems__(numbers.tolist())
        if loaded.outage is not None:
            raise OSError(f"{self.store_path}: {loaded.outage}")
        if self.replace_unreadable and loaded.readable.any():
            rows = np.arange(len(numbers))
            rows[~loaded.readable] = np.resize(rows[loaded.readable], len(loaded.failures))
            loaded.pixels, numbers = loaded.pixels[rows], numbers[rows]
        elif loaded.failures:
            failures = [f"{name}: {reason}" for _, name, reason in loaded.failures]
            raise ValueError(
                f"{self.store_path}: cannot read {shorten(failures, 4)}. Repair such files, or name the others in a "
                "list (path and class per line): a score must not depend on which files could be read"
            )
        batch: TokenBatch = {"images": loaded.pixels, "sample_idx": torch.as_tensor(indices, dtype=torch.int64)}
        if (labels := self._batches.source.labels) is not None:
            batch["gt_label"] = torch.from_numpy(labels[numbers])
        return batch

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        number, source = self.data_list[idx], self._batches.source
        info = {"sample_idx": idx % len(self), "img_path": source.names[number]}
        return info if source.labels is None else {**info, "gt_label": int(source.labels[number])}


def fitting_of(tokenizer: Mapping | str | Path) -> Fitting:
    """Tell what a tokenizer (its config, or a token store that it made) wants of an image, without reading weights."""
    return Fitting.of(_without_weights(tokenizer))


def _without_weights(tokenizer: Mapping | str | Path) -> Any:
    if not isinstance(tokenizer, Mapping):
        return outline_from_header(_recorded_tokenizer(tokenizer), tokenizer)
    with torch.device("meta"):
        return TOKENIZERS.build({key: value for key, value in tokenizer.items() if key not in _OF_WEIGHTS})


def _identity_of(tokenizer: Mapping | str | Path) -> dict[str, Any] | None:
    if not isinstance(tokenizer, Mapping):
        return settings_identity(_recorded_tokenizer(tokenizer))
    built = _without_weights(tokenizer)
    values = {name: value for name, value in vars(built).items() if not name.startswith("_")}
    resizing = built.describe_resizing()
    if "resize_mode" not in values:  # a type without an option for the mode
        resizing.pop("resize_mode", None)
    if "positions" not in tokenizer:  # left to the weights, which are not read here
        values.pop("positions", None)
    return settings_identity({"type": type(built).__name__, **values, **resizing})


def _recorded_tokenizer(path: str | Path) -> dict[str, Any]:
    tokenizer = StoreReader(path).header["tokenizer"]
    if "type" not in tokenizer:
        raise ValueError(
            f"{path} does not say which tokenizer made it ({tokenizer.get('name', 'without a name')!r}), so images "
            "cannot be brought to its size; give the tokenizer's config"
        )
    return tokenizer
