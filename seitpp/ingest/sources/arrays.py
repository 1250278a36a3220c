"""Images that lie in one array, with an array of their classes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from seitpp.images.decoding import UnreadableImageError, to_eight_bit
from seitpp.images.recompressing import png_bytes
from seitpp.ingest.sources.base import ImageSource
from seitpp.ingest.sources.labels import LARGEST_LABEL, class_labels

_CHANNELS = (1, 3, 4)


class ArraySource(ImageSource):
    """The images of an array in their order, named `FILE/NUMBER`.

    Args:
        path: Where they come from.
        images: (N, H, W) grey, or (N, H, W, C) or (N, C, H, W) with 1, 3 (RGB) or 4 (RGB and opacity) channels; uint8,
            truth values, or uint16 of one channel, whose range is scaled to 8 bits.
        labels: Class of each, (N,) or (N, 1), integers or names; None for none.
        classes: Class names in the order of their indices.
        notes: What a person may want to know before a long run.

    Raises:
        ValueError: The arrays are of another shape or type, or labels are no classes.
    """

    kind = "arrays"

    def __init__(
        self,
        path: str,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        classes: list[str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._images, self._notes = _as_images(images, path), list(notes)
        file_name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        self.names = [f"{file_name}/{number}" for number in range(len(self._images))]
        if labels is not None:
            self.labels, self.classes = _as_labels(labels, len(self), path, classes)

    def load(self, index: int, in_channels: int) -> tuple[Image.Image, int]:
        """Return an image as RGB or grey, and the bytes that it takes in its array."""
        pixels = np.ascontiguousarray(self._images[index])
        if pixels.shape[0] * pixels.shape[1] > self.max_pixels:
            raise UnreadableImageError(f"it has {pixels.shape[0] * pixels.shape[1]:,} pixels, over {self.max_pixels:,}")
        return to_eight_bit(Image.fromarray(pixels), in_channels), pixels.nbytes

    def read(self, index: int) -> bytes:
        """Return an image as the bytes of a PNG file, since it has none."""
        return png_bytes(Image.fromarray(np.ascontiguousarray(self._images[index])))

    def warnings(self) -> list[str]:
        return self._notes + super().warnings()


def _as_images(array: np.ndarray, path: str) -> np.ndarray:
    """Return images (N, H, W) or (N, H, W, C), as a view."""
    if array.ndim == 4 and array.shape[3] not in _CHANNELS and array.shape[1] in _CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in _CHANNELS):
        raise ValueError(
            f"{path}: images have the shape {array.shape}, expected (N, H, W), or (N, H, W, C) or (N, C, H, W) with 1, "
            "3 or 4 channels; reshape them"
        )
    if not array.size:
        raise ValueError(f"{path} holds no images, its array has the shape {array.shape}")
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8 or (array.dtype == np.uint16 and array.ndim == 3):
        return array
    raise ValueError(
        f"{path}: images are {array.dtype}, expected uint8 from 0 to 255; floats have no range of their own: scale and "
        "round them before you save them"
    )


def _as_labels(
    labels: np.ndarray, count: int, path: str, classes: list[str] | None
) -> tuple[np.ndarray, list[str] | None]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{path}: labels have the shape {labels.shape}, expected one class per image, ({count},); pass "
            "--unlabelled to leave labels out"
        )
    if len(labels) != count:
        raise ValueError(f"{path}: there are {count:,} images and {len(labels):,} labels; expected one label per image")
    if labels.dtype.kind == "U":
        return class_labels([(f"{path}, label {number}", text) for number, text in enumerate(labels.tolist())], classes)
    with np.errstate(invalid="ignore"):  # of floats that are no numbers, which are refused
        whole = labels.astype(np.int64) if labels.dtype.kind in "biuf" else None
    if whole is None or (whole != labels).any():
        raise ValueError(f"{path}: labels are {labels.dtype}, expected whole numbers or names of classes")
    end = LARGEST_LABEL + 1 if classes is None else len(classes)
    if (wrong := np.flatnonzero((whole < 0) | (whole >= end))).size:
        raise ValueError(
            f"{path}: the label of image {wrong[0]} is {whole[wrong[0]]}, expected a class index from 0 to {end - 1}"
        )
    return whole, classes
