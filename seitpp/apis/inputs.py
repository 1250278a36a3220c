"""What an inferencer can be given, as batches for the data preprocessor and as pictures for people."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import mmengine.fileio as fileio
import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor

from seitpp.images.decoding import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    UnreadableImageError,
    decode_image,
    pixels_of,
    to_eight_bit,
)
from seitpp.images.resizing import check_not_smaller_than_patch, fit_image
from seitpp.io.checkpoint import shorten
from seitpp.io.files import check_other_file
from seitpp.io.untrusted import check_regular_file
from seitpp.storage import StoreReader
from seitpp.storage.format import HEADER_FILE
from seitpp.storage.indices import check_indices
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers import Tokenizer


class ClassifierInputs(ABC):
    """Samples in order.

    Attributes:
        names: What each is called, all different; pictures are named after them.
    """

    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, batch_size: int) -> Iterator[TokenBatch]:
        """All samples, so many at a time, the last batch shorter."""
        for start in range(0, len(self), batch_size):
            places = range(start, min(start + batch_size, len(self)))
            yield {**self._read(places), "sample_idx": torch.tensor(places)}

    @abstractmethod
    def _read(self, places: range) -> TokenBatch:
        """`images` (B, C, H, W), uint8, or `inputs`, tokens, of some samples."""

    def size(self, place: int) -> tuple[int, int] | None:
        """Height and width of what one sample shows; None where nothing tells."""
        return None

    def picture_path(self, folder: str | Path, place: int) -> Path:
        """Where to write the picture of one sample; raises `ValueError` if that is the file that it was read from."""
        return Path(folder, f"{self.names[place]}.png")

    @abstractmethod
    def picture(self, place: int) -> np.ndarray:
        """What one sample shows, (H, W, 3), RGB, uint8."""


class ImageInputs(ClassifierInputs):
    """Image files and arrays, brought to the size that a tokenizer takes, as tools/tokenize_images.py does.

    Args:
        images: Paths or addresses of files, and arrays (H, W, 3), BGR, or (H, W), grey, uint8.
        tokenizer: What will encode them.
        max_pixels: Most pixels that a file may have.
    """

    def __init__(
        self, images: Sequence[str | Path | np.ndarray], tokenizer: Tokenizer, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._images = list(images)
        self._tokenizer = tokenizer
        self._max_pixels = max_pixels
        for place, image in enumerate(self._images):
            _check_image(image, place)
        self.names = _different(
            [str(place) if isinstance(image, np.ndarray) else Path(image).stem for place, image in enumerate(images)]
        )

    def _read(self, places: range) -> TokenBatch:
        return {"images": torch.from_numpy(np.stack([self._fitted(place) for place in places]))}

    def size(self, place: int) -> tuple[int, int] | None:
        """That of the image, where the tokenizer shows all of it; else that of the tokenizer's cut."""
        if self._tokenizer.resize_mode != "exact":
            return tuple(self._tokenizer.image_size)
        return self._open(place, 3).size[::-1]

    def picture_path(self, folder: str | Path, place: int) -> Path:
        """See `ClassifierInputs`."""
        path, image = super().picture_path(folder, place), self._images[place]
        if not isinstance(image, np.ndarray):
            check_other_file(image, path)
        return path

    def picture(self, place: int) -> np.ndarray:
        """The image as it is, not resized."""
        return np.asarray(self._open(place, 3))

    def _fitted(self, place: int) -> np.ndarray:
        """Pixels (C, H, W) that the tokenizer takes."""
        image = self._open(place, self._tokenizer.in_channels)
        try:
            check_not_smaller_than_patch(image, self._tokenizer.stride)
            tokenizer = self._tokenizer
            return pixels_of(fit_image(image, tokenizer.image_size, tokenizer.resize_mode, rule=tokenizer.resize_rule))
        except UnreadableImageError as error:
            raise ValueError(f"image {self._called(place)} does not fit: {error}") from error

    def _open(self, place: int, in_channels: int) -> Image.Image:
        image = self._images[place]
        if isinstance(image, np.ndarray):
            rgb = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
            return to_eight_bit(Image.fromarray(rgb), in_channels)
        try:
            return decode_image(fileio.get(str(image)), in_channels, self._max_pixels)
        except UnreadableImageError as error:
            raise ValueError(f"image {image} cannot be read: {error}") from error

    def _called(self, place: int) -> str:
        image = self._images[place]
        return f"{place} (an array)" if isinstance(image, np.ndarray) else str(image)


class TokenInputs(ClassifierInputs):
    """Tokens that are there already: of a store, or in a tensor.

    Args:
        tokens: The store, or integers (N, H, W) or (N, H, W, C).
        tokenizer: What decodes them to pictures; None if they are not wanted.
        indices: Samples of a store, in this order; by default all.
    """

    def __init__(
        self, tokens: StoreReader | Tensor, tokenizer: Tokenizer | None = None, indices: Sequence[int] | None = None
    ) -> None:
        self._tokens, self._tokenizer = tokens, tokenizer
        is_store = isinstance(tokens, StoreReader)
        self._places = np.arange(len(tokens)) if indices is None else check_indices(list(indices), len(tokens))
        prefix = f"{tokens.path.resolve().name}-" if is_store else ""
        self.names = _different([f"{prefix}{place:0{len(str(len(tokens) - 1))}d}" for place in self._places])

    def _read(self, places: range) -> TokenBatch:
        chosen = self._places[places.start : places.stop]
        if isinstance(self._tokens, StoreReader):
            return {"inputs": torch.from_numpy(self._tokens.read(chosen))}
        return {"inputs": self._tokens[torch.from_numpy(chosen)]}

    def picture(self, place: int) -> np.ndarray:
        """The tokens decoded; `ValueError` without a tokenizer."""
        if self._tokenizer is None:
            raise ValueError("tokens were opened without a tokenizer to decode them; open them for pictures")
        tokens = self._read(range(place, place + 1))["inputs"].long()
        device = next(chain(self._tokenizer.parameters(), self._tokenizer.buffers())).device
        pixels = self._tokenizer.to_bytes(self._tokenizer.decode(tokens.to(device)))[0]
        return pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()


def is_store(path: str | Path) -> bool:
    """Whether a folder is a token store."""
    return Path(path, HEADER_FILE).is_file()


def images_in(folder: str | Path) -> list[Path]:
    """Image files of a folder, by name, without those of its sub-folders.

    Raises:
        ValueError: There are none.
    """
    found = sorted(path for path in Path(folder).iterdir() if not path.is_dir() and not path.name.startswith("."))
    files = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    if files and len(files) < len(found):
        others = [path.name for path in found if path.suffix.lower() not in IMAGE_SUFFIXES]
        print_log(
            f"{folder}: {len(others)} files are not taken for images: {shorten(others)}", "current", logging.WARNING
        )
    if not files:
        raise ValueError(
            f"{folder} holds no image file ({', '.join(IMAGE_SUFFIXES)}) and is no token store, which has a "
            f"{HEADER_FILE}"
        )
    return files


def _check_image(image: object, place: int) -> None:
    """Refuse what cannot be an image, before any is read."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise ValueError(
                f"image {place} is an array of {image.dtype} and shape {image.shape}; expected uint8, (H, W, 3) in the "
                "order BGR, or (H, W). Tokens are given as a tensor"
            )
        if 0 in image.shape:
            raise ValueError(f"image {place} is an array of shape {image.shape}, without a pixel")
    elif not isinstance(image, (str, Path)):
        raise ValueError(
            f"input {place} of the list is a {type(image).__name__}; expected paths of image files, or arrays"
        )
    elif "://" not in str(image):
        check_regular_file(image, "image")


def _different(names: list[str]) -> list[str]:
    """The names, with their place behind those that occurred before."""
    seen: set[str] = set()
    unique = []
    for place, name in enumerate(names):
        unique.append(name if name not in seen else f"{name}-{place}")
        seen.add(unique[-1])
    return unique
