"""Image files as pixels that a tokenizer takes, fetched a whole batch at a time: scoring without a token store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init

from seitpp.datasets.source_dataset import SourceDataset
from seitpp.ingest.loading import Fitting, ImageBatches
from seitpp.ingest.sources import ImageSource
from seitpp.io.text import shorten
from seitpp.registry import DATASETS, TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers.from_store import outline_from_header
from seitpp.tokenizers.identity import settings_identity

# Options whose values are weights or are compared with weights.
_OF_WEIGHTS = ("checkpoint", "code_subset", "codebook", "fit")


@DATASETS.register_module()
class ImageDataset(SourceDataset):
    """Images and labels; the data preprocessor tokenises them on the device, as a store of them would hold them.

    Files are read as `tools/tokenize_images.py` reads them, by worker processes where the loader has any (with
    `seitpp.identity_collate`). An image that cannot be read is an error, unless `replace_unreadable`: a score must not
    depend on what was left out.
    `metainfo` holds what that of `SourceDataset` does, and `image_size` and the identity of the `tokenizer`.

    Args:
        source: As all other options but the following two: see `SourceDataset`.
        tokenizer: What the images are fitted for: a tokenizer's config, or a token store that it made. Weights are not
            read.
        replace_unreadable: Whether another image of the batch stands for one that cannot be read; for training that
            looks at images alone.
    """

    def __init__(
        self, source: str, tokenizer: dict | str | Path, *args: Any, replace_unreadable: bool = False, **options: Any
    ) -> None:
        self.tokenizer_config = tokenizer
        self.replace_unreadable = replace_unreadable
        super().__init__(source, *args, **options)

    def load_data_list(self) -> list[int]:
        numbers = super().load_data_list()
        self._batches = ImageBatches(self._source, self._fitting, self.border, self.corruption)
        return numbers

    def _known_of(self, source: ImageSource) -> dict[str, Any]:
        self._fitting = fitting_of(self.tokenizer_config)
        size = list(self._fitting.image_size)
        return {**super()._known_of(source), "image_size": size, "tokenizer": _identity_of(self.tokenizer_config)}

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
        if (labels := self._source.labels) is not None:
            batch["gt_label"] = torch.from_numpy(labels[numbers])
        return batch


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
