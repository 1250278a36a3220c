"""Inputs of an inferencer, as batches for the data preprocessor and as pictures for people."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
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
    upright_image,
)
from seitpp.images.label_maps import label_map_path, read_label_map
from seitpp.images.resizing import check_not_smaller_than_patch, fit_image
from seitpp.ingest.sources.base import is_image_name
from seitpp.ingest.sources.files import list_files
from seitpp.io.atomic_write import check_other_file
from seitpp.io.text import shorten
from seitpp.io.untrusted import check_regular_file
from seitpp.storage import StoreReader
from seitpp.storage.header import HEADER_FILE
from seitpp.storage.reader import check_indices
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers import Tokenizer


class ClassifierInputs(ABC):
    """Samples in order."""

    names: list[str]  # of the samples and of the files written for them, all different; may have folders
    _root: str | Path | None = None  # folder that is read

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, batch_size: int) -> Iterator[TokenBatch]:
        """Yield all samples in batches, the last one shorter."""
        for start in range(0, len(self), batch_size):
            indices = range(start, min(start + batch_size, len(self)))
            yield {**self._read(indices), "sample_idx": torch.tensor(indices)}

    @abstractmethod
    def _read(self, indices: range) -> TokenBatch:
        """Read some samples: `images` (B, C, H, W), uint8, or `inputs`, tokens."""

    def size(self, index: int) -> tuple[int, int] | None:
        """Return height and width of the image of a sample; None where they are not known."""
        return None

    def output_path(self, folder: str | Path, index: int, suffix: str = ".png") -> Path:
        """Return where to write what belongs to a sample; refuse a file that is read."""
        return Path(folder, f"{self.names[index]}{suffix}")

    def labels(self) -> tuple[np.ndarray | None, list[str] | None]:
        """Return class indices (N,), int64, -1 for a sample without one, and class names; None where there are none."""
        return None, None

    def origins(self) -> list[str]:
        """Return where each sample comes from."""
        return self.names

    def refuse_inside(self, folder: str | Path) -> None:
        """Raise `ValueError` for an output folder inside the folder that is read."""
        if self._root is not None and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self._root)):
            raise ValueError(f"{folder} lies inside {self._root}, which is read; name a folder elsewhere")

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """Return the image of a sample, (H, W, 3), RGB, uint8."""


class ImageInputs(ClassifierInputs):
    """Images, resized to what a tokenizer takes, as by tools/tokenize_images.py.

    Args:
        images: Paths or addresses of files, PIL images, and arrays (H, W, 3), BGR, or (H, W), grey, uint8.
        tokenizer: The tokenizer.
        root: Folder in which the files were found; names are relative to it.
    """

    def __init__(
        self,
        images: Sequence[str | Path | np.ndarray | Image.Image],
        tokenizer: Tokenizer,
        root: str | Path | None = None,
    ) -> None:
        self._images, self._tokenizer, self._root = list(images), tokenizer, root
        self._sizes: dict[int, tuple[int, int]] = {}  # height and width of those that were opened
        for index, image in enumerate(self._images):
            _check_image(image, index)
        self.names = _different([self._name(image, index) for index, image in enumerate(self._images)])

    def _name(self, image: str | Path | np.ndarray | Image.Image, index: int) -> str:
        if not isinstance(image, (str, Path)):
            return str(index)
        return (
            Path(image).stem if self._root is None else Path(image).relative_to(self._root).with_suffix("").as_posix()
        )

    def _read(self, indices: range) -> TokenBatch:
        return {"images": torch.from_numpy(np.stack([self._fitted(index) for index in indices]))}

    def size(self, index: int) -> tuple[int, int] | None:
        """Return the size of the image, or of the part that the tokenizer cuts out."""
        if self._tokenizer.resize_mode != "exact":
            return tuple(self._tokenizer.image_size)
        return self._sizes.get(index) or self._open(index, 3).size[::-1]

    def output_path(self, folder: str | Path, index: int, suffix: str = ".png") -> Path:
        path, image = super().output_path(folder, index, suffix), self._images[index]
        if isinstance(image, (str, Path)):
            check_other_file(image, path)
        if path.exists() and os.path.realpath(path) in self._sources:  # another image may have the name that this gets
            raise ValueError(f"{path} is an image that is read; write to another folder")
        return path

    @cached_property
    def _sources(self) -> frozenset[str]:
        return frozenset(os.path.realpath(image) for image in self._images if isinstance(image, (str, Path)))

    def picture(self, index: int) -> np.ndarray:
        return np.asarray(self._open(index, 3))

    def labels(self) -> tuple[np.ndarray | None, list[str] | None]:
        """Return the first folder in each image's path as its class, in the order of their names."""
        folders = [name.partition("/")[0] if "/" in name else None for name in self.names]
        classes = sorted({folder for folder in folders if folder is not None})
        if self._root is None or not classes:
            return None, None
        numbers = {folder: number for number, folder in enumerate(classes)}
        return np.array([-1 if one is None else numbers[one] for one in folders], np.int64), classes

    def origins(self) -> list[str]:
        return [
            str(image) if isinstance(image, (str, Path)) else name
            for image, name in zip(self._images, self.names, strict=True)
        ]

    def _fitted(self, index: int) -> np.ndarray:
        tokenizer = self._tokenizer
        image = self._open(index, tokenizer.in_channels)
        self._sizes[index] = image.size[::-1]
        try:
            check_not_smaller_than_patch(image, tokenizer.stride)
            return pixels_of(fit_image(image, tokenizer.image_size, tokenizer.resize_mode, rule=tokenizer.resize_rule))
        except UnreadableImageError as error:
            raise ValueError(f"image {self._described(index)} does not fit: {error}") from error

    def _open(self, index: int, in_channels: int) -> Image.Image:
        image = self._images[index]
        try:
            if isinstance(image, Image.Image):
                return to_eight_bit(upright_image(image), in_channels)
            if isinstance(image, np.ndarray):
                rgb = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
                return to_eight_bit(Image.fromarray(rgb), in_channels)
            return decode_image(fileio.get(str(image)), in_channels, MAX_PIXELS)
        except UnreadableImageError as error:
            raise ValueError(f"image {self._described(index)} cannot be read: {error}") from error

    def _described(self, index: int) -> str:
        image = self._images[index]
        if isinstance(image, (str, Path)):
            return str(image)
        return f"{index} ({'an array' if isinstance(image, np.ndarray) else 'a PIL image'})"


class TokenInputs(ClassifierInputs):
    """Tokens of a store, all or those of some indices, or of a tensor (N, H, W) or (N, H, W, C).

    The tokenizer decodes them to pictures; None if none are wanted.
    """

    def __init__(
        self, tokens: StoreReader | Tensor, tokenizer: Tokenizer | None = None, indices: Sequence[int] | None = None
    ) -> None:
        self._tokens, self._tokenizer = tokens, tokenizer
        is_store = isinstance(tokens, StoreReader)
        self._samples = np.arange(len(tokens)) if indices is None else check_indices(list(indices), len(tokens))
        prefix = f"{tokens.path.resolve().name}-" if is_store else ""
        self._root = tokens.path if is_store else None
        self.names = _different([f"{prefix}{index:0{len(str(len(tokens) - 1))}d}" for index in self._samples])

    def size(self, index: int) -> tuple[int, int] | None:
        """Return the size of a sample's label map, where the store has some."""
        tokens = self._tokens
        if not isinstance(tokens, StoreReader) or tokens.header["labels"]["kind"] != "segmentation":
            return None
        number = int(self._samples[index])
        return read_label_map(label_map_path(tokens.path, number), tokens.read_label_map(number)).shape

    def _read(self, indices: range) -> TokenBatch:
        chosen = self._samples[indices.start : indices.stop]
        if isinstance(self._tokens, StoreReader):
            return {"inputs": torch.from_numpy(self._tokens.read(chosen))}
        return {"inputs": self._tokens[torch.from_numpy(chosen)]}

    def labels(self) -> tuple[np.ndarray | None, list[str] | None]:
        """Return the store's class indices and names."""
        if not isinstance(self._tokens, StoreReader) or (labels := self._tokens.labels) is None:
            return None, None
        return labels[self._samples].astype(np.int64), self._tokens.classes

    def origins(self) -> list[str]:
        """Return the folder of the store and the number of each sample."""
        path = self._tokens.path if isinstance(self._tokens, StoreReader) else "tokens"
        return [f"{path} {index}" for index in self._samples]

    def picture(self, index: int) -> np.ndarray:
        if self._tokenizer is None:
            raise ValueError("tokens were opened without a tokenizer to decode them; open them for pictures")
        tokens = self._read(range(index, index + 1))["inputs"].long()
        device = next(chain(self._tokenizer.parameters(), self._tokenizer.buffers())).device
        pixels = self._tokenizer.to_bytes(self._tokenizer.decode(tokens.to(device)))[0]
        return pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()


def is_store(path: str | Path) -> bool:
    """Return whether a folder is a token store."""
    return Path(path, HEADER_FILE).is_file()


def images_in(folder: str | Path) -> list[Path]:
    """Return the image files of a folder and its sub-folders by their paths; refuse a folder without any."""
    found = list_files(str(folder))
    files = [name for name in found if is_image_name(name)]
    if files and len(files) < len(found):
        others = [name for name in found if not is_image_name(name)]
        print_log(
            f"{folder}: {len(others)} files are not taken for images: {shorten(others)}",
            "current",
            logging.WARNING,
        )
    if not files:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"{folder} holds no image file ({kinds}) and is no token store, which has a {HEADER_FILE}")
    return [Path(folder, name) for name in files]


def _check_image(image: object, index: int) -> None:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise ValueError(
                f"image {index} is an array of {image.dtype} and shape {image.shape}; expected uint8, (H, W, 3) in the "
                "order BGR, or (H, W). Tokens are given as a tensor"
            )
        if 0 in image.shape:
            raise ValueError(f"image {index} is an array of shape {image.shape}, without a pixel")
    elif isinstance(image, Image.Image):
        if 0 in image.size:
            raise ValueError(f"image {index} is a PIL image of size {image.size}, without a pixel")
    elif not isinstance(image, (str, Path)):
        raise ValueError(f"input {index} of the list is a {type(image).__name__}; expected paths, PIL images or arrays")
    elif "://" not in str(image):
        check_regular_file(image, "image")


def _different(names: list[str]) -> list[str]:
    unique: dict[str, None] = {}  # a set that keeps its order
    for index, name in enumerate(names):
        while name in unique:
            name = f"{name}-{index}"
        unique[name] = None
    return list(unique)
