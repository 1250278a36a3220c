"""Images to batches of pixels in worker processes: read, decode, orient, resize. Failures are data, not exceptions."""

import errno
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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
    """What a tokenizer wants of an image, without its weights: what workers need to know.

    Args:
        image_size: Height and width.
        resize_mode: `exact` or `center-crop`.
        in_channels: 3 or 1.
        stride: Pixels of a patch; smaller images are refused.
        label_size: Height and width of label maps; None keeps theirs.
        reduce_zero_label: Whether 0 in a label map means "ignore".
        num_classes: Classes that label maps may hold; None where they are not named.
        resize: By which filters images are resized, see `seitpp.images.resizing`.
    """

    image_size: tuple[int, int]
    resize_mode: str
    in_channels: int
    stride: int
    label_size: tuple[int, int] | None = None
    reduce_zero_label: bool = False
    num_classes: int | None = None
    resize: str = "bicubic"

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        label_size: tuple[int, int] | None = None,
        reduce_zero_label: bool = False,
        num_classes: int | None = None,
    ) -> "Fitting":
        """Return what `tokenizer` wants."""
        image_size = int(tokenizer.image_size[0]), int(tokenizer.image_size[1])
        image = image_size, tokenizer.resize_mode, tokenizer.in_channels, tokenizer.stride
        return cls(*image, label_size, reduce_zero_label, num_classes, tokenizer.resize_rule)


@dataclass
class LoadedBatch:
    """Images of consecutive numbers.

    Attributes:
        pixels: (B, C, H, W), uint8; zeros where an image could not be read.
        readable: (B,), bool.
        num_bytes: Bytes of each image in its source, (B,), int64; 0 where it could not be read.
        failures: Number, name and reason of each image that could not be read.
        label_maps: PNG of each image's label map, or None; an empty list without label maps.
        outage: Why images cannot be read at present, though nothing need be wrong with them.
    """

    pixels: Tensor
    readable: np.ndarray
    num_bytes: np.ndarray
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    label_maps: list[bytes | None] = field(default_factory=list)
    outage: str | None = None


class ImageBatches(Dataset):
    """Map from a range of image numbers to a `LoadedBatch`.

    Args:
        source: The images.
        fitting: What the tokenizer wants.
    """

    def __init__(self, source: ImageSource, fitting: Fitting) -> None:
        self.source, self.fitting = source, fitting

    def __getitems__(self, numbers: Sequence[int]) -> LoadedBatch:
        """Load images; one that cannot be read leaves zeros and an entry in `failures`."""
        shape = (len(numbers), self.fitting.in_channels, *self.fitting.image_size)
        pixels = np.zeros(shape, np.uint8)
        batch = LoadedBatch(torch.from_numpy(pixels), np.zeros(len(numbers), bool), np.zeros(len(numbers), np.int64))
        for slot, number in enumerate(numbers):
            label_map = None
            try:
                image, num_bytes = self.source.load(number, self.fitting.in_channels)
                pixels[slot] = self._fit(image)
                if self.source.annotated:
                    label_map = self._label_map(number, image)
                batch.readable[slot], batch.num_bytes[slot] = True, num_bytes
            except (UnreadableImageError, OSError) as error:
                pixels[slot] = 0
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                if not is_of_one_image(error):
                    batch.outage = f"{self.source.names[number]} cannot be read at present: {reason or repr(error)}"
                batch.failures.append((number, self.source.names[number], reason))
            if self.source.annotated:
                batch.label_maps.append(label_map)
        return batch

    def _fit(self, image: Image.Image) -> np.ndarray:
        """Return the pixels (C, H, W) that the tokenizer takes."""
        check_not_smaller_than_patch(image, self.fitting.stride)
        fitting = self.fitting
        return pixels_of(fit_image(image, fitting.image_size, fitting.resize_mode, rule=fitting.resize))

    def _label_map(self, number: int, image: Image.Image) -> bytes:
        fitting = self.fitting
        content = self.source.read_annotation(number)
        return label_map_png(
            content,
            fitting.label_size,
            fitting.resize_mode,
            fitting.reduce_zero_label,
            image.size,
            self.source.max_pixels,
            image.info.get("orientation", 1),
            fitting.num_classes,
        )


def load_batches(
    source: ImageSource, fitting: Fitting, batches: Sequence[Sequence[int]], num_workers: int
) -> Iterator[LoadedBatch]:
    """Load batches of image numbers in the order given, ahead of their use, in `num_workers` processes (0: here).

    Raises:
        OSError: The machine or the network, not an image, is at fault; or one of the processes died.
    """
    loader = DataLoader(
        ImageBatches(source, fitting),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=False,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_end_without_parent,
    )
    loaded = iter(loader)
    while True:
        try:
            batch = next(loaded, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise ChildProcessError(
                "a process that decodes images died, perhaps for lack of memory; run the same command again to "
                "continue, with fewer --workers if it dies again"
            ) from error
        if batch is None:
            return
        if batch.outage is not None:
            raise OSError(f"{batch.outage}. Run the same command again to continue")
        yield batch


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


def _as_it_is(batch: LoadedBatch) -> LoadedBatch:
    return batch
