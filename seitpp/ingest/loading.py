"""Images to batches of pixels in worker processes: read, decode, orient, resize. Failures are data, not exceptions."""

import errno
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seitpp.images.corruptions import Corruption, cut_border
from seitpp.images.decoding import UnreadableImageError, pixels_of
from seitpp.images.label_maps import label_map_png
from seitpp.images.resizing import check_not_smaller_than_patch, fit_image
from seitpp.ingest.sources import ImageSource
from seitpp.tokenizers.base import Tokenizer

# What says something about one image. Every other error, such as of a network, of rights that have run out, or of too
# many open files, ends the run, which can be continued: to leave images out would make the store depend on the weather.
_OF_ONE_IMAGE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_NUMBERS_OF_ONE_IMAGE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


@dataclass(frozen=True)
class Fitting:
    """What a tokenizer wants of an image, without its weights: what workers need to know."""

    image_size: tuple[int, int]
    resize_mode: str  # `exact` or `center-crop`
    in_channels: int  # 3 or 1
    stride: int  # pixels of a patch; smaller images are refused
    label_size: tuple[int, int] | None = None  # of label maps; None keeps theirs
    reduce_zero_label: bool = False  # whether 0 in a label map means "ignore"
    num_classes: int | None = None  # classes that label maps may hold; None where they are not named
    resize: str = "bicubic"  # filters, see `seitpp.images.resizing`

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Fitting":
        """Return what `tokenizer` wants."""
        height, width = map(int, tokenizer.image_size)
        wanted = tokenizer.resize_mode, tokenizer.in_channels, tokenizer.stride
        return cls((height, width), *wanted, resize=tokenizer.resize_rule)


@dataclass
class LoadedBatch:
    """Images of consecutive numbers."""

    pixels: Tensor  # (B, C, H, W), uint8; zeros where an image could not be read
    readable: np.ndarray  # (B,), bool
    num_bytes: np.ndarray  # of each image in its source, (B,), int64; 0 where it could not be read
    failures: list[tuple[int, str, str]] = field(default_factory=list)  # number, name and reason
    label_maps: list[bytes | None] = field(default_factory=list)  # PNG of each; empty for a source without
    outage: str | None = None  # why images cannot be read at present, though nothing need be wrong with them


class ImageBatches(Dataset):
    """Map from a range of image numbers to a `LoadedBatch`.

    Args:
        source: The images.
        fitting: What the tokenizer wants of them.
        border: Pixels to cut from every side of an image before anything else.
        corruption: What to do to images that are tested on, if anything.
    """

    def __init__(
        self, source: ImageSource, fitting: Fitting, border: int = 0, corruption: Corruption | None = None
    ) -> None:
        self.source, self.fitting, self.border, self.corruption = source, fitting, border, corruption

    def __getitems__(self, numbers: Sequence[int]) -> LoadedBatch:
        """Load images; one that cannot be read leaves zeros and an entry in `failures`."""
        pixels = np.zeros((len(numbers), self.fitting.in_channels, *self.fitting.image_size), np.uint8)
        batch = LoadedBatch(torch.from_numpy(pixels), np.zeros(len(numbers), bool), np.zeros(len(numbers), np.int64))
        for slot, number in enumerate(numbers):
            label_map = None
            try:
                content, num_bytes, label_map = self._load(number)
                pixels[slot], batch.readable[slot], batch.num_bytes[slot] = content, True, num_bytes
            except (UnreadableImageError, OSError) as error:
                reason = reason_of(error)
                if not is_of_one_image(error):
                    batch.outage = f"{self.source.names[number]} cannot be read at present: {reason}"
                batch.failures.append((number, self.source.names[number], reason))
            if self.source.annotated:
                batch.label_maps.append(label_map)
        return batch

    def _load(self, number: int) -> tuple[np.ndarray, int, bytes | None]:
        """Return pixels (C, H, W) that the tokenizer takes, the bytes of the image's file, and the label map."""
        fitting, source = self.fitting, self.source
        image, num_bytes = source.load(number, fitting.in_channels)
        image = cut_border(image, self.border)
        check_not_smaller_than_patch(image, fitting.stride)
        pixels = self._fitted(image, number)
        if not source.annotated:
            return pixels, num_bytes, None
        label_map = label_map_png(
            source.read_annotation(number),
            fitting.label_size,
            fitting.resize_mode,
            fitting.reduce_zero_label,
            image.size,
            source.max_pixels,
            image.info.get("orientation", 1),
            fitting.num_classes,
        )
        return pixels, num_bytes, label_map

    def _fitted(self, image: Image.Image, number: int) -> np.ndarray:
        """Return pixels (C, H, W) at the tokenizer's size, corrupted if they are to be."""
        fitting, corruption = self.fitting, self.corruption
        if corruption is not None and corruption.order == "imagenet-c":
            image = corruption.apply_to_crop(image, number)
        pixels = pixels_of(fit_image(image, fitting.image_size, fitting.resize_mode, rule=fitting.resize))
        if corruption is not None and corruption.order == "input":
            pixels = corruption.apply(pixels, number)
        return pixels


def load_batches(
    source: ImageSource, fitting: Fitting, batches: Sequence[Sequence[int]], num_workers: int
) -> Iterator[LoadedBatch]:
    """Load batches of image numbers in the order given, ahead of their use, in `num_workers` processes (0: here).

    Raises:
        OSError: The machine or the network, not an image, is at fault; or one of the processes died.
    """
    for batch in in_workers(ImageBatches(source, fitting), batches, num_workers):
        if batch.outage is not None:
            raise OSError(f"{batch.outage}. Run the same command again to continue")
        yield batch


def in_workers(work: Dataset, batches: Sequence[Sequence[int]], num_workers: int) -> Iterator[Any]:
    """Yield what `work.__getitems__` makes of each batch of numbers, in their order, in `num_workers` processes.

    Raises:
        ChildProcessError: One of the processes died.
    """
    loader = DataLoader(
        work,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=False,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_end_without_parent,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            "a process that decodes images died, perhaps for lack of memory; run the same command again to continue, "
            "with fewer --workers if it dies again"
        ) from error


def reason_of(error: Exception) -> str:
    """Return why an image cannot be read, without its path."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or repr(error)


def is_of_one_image(error: Exception) -> bool:
    """Whether an image, and not the machine or the network, is at fault."""
    return (
        isinstance(error, (UnreadableImageError, *_OF_ONE_IMAGE))
        or getattr(error, "errno", None) in _NUMBERS_OF_ONE_IMAGE
    )


def _end_without_parent(worker: int) -> None:
    """End a worker whose parent was killed before PyTorch's own watch over it began, which would never notice."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def _as_it_is(batch: Any) -> Any:
    return batch
