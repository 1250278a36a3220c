"""Label maps as people make them: files of class indices, read exactly or refused with a reason.

What comes out are the values that a store keeps; `seitpp.images.label_maps` reads those.
"""

from dataclasses import dataclass

import numpy as np

from seitpp.images.image_files import MAX_PIXELS, UnreadableImageError, decoded_image

IGNORE_INDEX = 255
"""Value of pixels that neither train nor count; mmseg's default. In maps of 16 bits 65535 means the same."""

TO_INDICES = "map each colour to its class index and save that as an 8-bit grey PNG (docs/segmentation.md shows how)"

_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM", "PCX", "SGI", "SUN", "TGA")
_LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
_GREY_MODES = ("L", "P", "1", "I", "I;16", "I;16B")
# Grey of 2 and 4 bits, which Pillow scales to 0..255.
_SCALES = {("PNG", "L;2"): 85, ("PNG", "L;4"): 17}


@dataclass(frozen=True)
class LabelIndices:
    """What a label map's file holds.

    Attributes:
        indices: (h, w), uint8, or uint16 where `wide`, upright.
        wide: Whether the file's pixels have 16 bits or more, so that 65535 means "ignore".
        orientation: EXIF orientation that was applied.
    """

    indices: np.ndarray
    wide: bool
    orientation: int


def read_label_indices(content: bytes, max_pixels: int = MAX_PIXELS) -> LabelIndices:
    """The class indices in a file's bytes.

    Raises:
        UnreadableImageError: It is damaged, too large, lossy, or its values are colours or are scaled.
    """
    try:
        with decoded_image(content, max_pixels) as decoded:
            pixels = np.asarray(decoded.image)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"its annotation: {error}") from error
    mode, raw_mode = decoded.image.mode, decoded.raw_mode
    if decoded.format not in _LOSSLESS or decoded.compression in _LOSSY_COMPRESSIONS:
        raise UnreadableImageError(
            f"its annotation is a {decoded.format} file, which may change values where classes meet and so invent "
            "classes; make it again as a PNG file, from the original labels and not from this file"
        )
    if mode not in _GREY_MODES:
        raise UnreadableImageError(
            f"its annotation has colours (mode {mode}) where class indices are expected; {TO_INDICES}"
        )
    scale = _SCALES.get((decoded.format, raw_mode), 1)
    if scale == 1 and raw_mode.startswith(("L;", "1;", "I;scaled")):
        raise UnreadableImageError(
            f"its annotation is a {decoded.format} file whose values are scaled or inverted (layout {raw_mode}), so "
            "that class indices cannot be told; save them as an 8-bit grey PNG"
        )
    wide = mode not in ("L", "P", "1")
    if wide and (pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535):
        raise UnreadableImageError("its annotation has values outside [0, 65535]")
    indices = pixels.astype(np.uint16 if wide else np.uint8)
    return LabelIndices(indices if scale == 1 else indices // scale, wide, decoded.orientation)


def ignored_pixels(values: np.ndarray, wide: bool, num_classes: int | None = None) -> np.ndarray:
    """Which pixels mean "ignore".

    Args:
        values: Any shape.
        wide: Whether they have 16 bits.
        num_classes: Classes, if they are known; 255 is one of them where there are more than that.
    """
    ignored = values == 65535 if wide else np.zeros(values.shape, bool)
    return ignored if (num_classes or 0) > IGNORE_INDEX else ignored | (values == IGNORE_INDEX)


def stored_labels(labels: LabelIndices, reduce_zero_label: bool, num_classes: int | None) -> np.ndarray:
    """Values as a store keeps them: classes from 0, and the type's largest value or 255 for "ignore".

    Args:
        labels: What the file holds.
        reduce_zero_label: Whether 0 means "ignore" and classes count from 1.
        num_classes: Classes C, if they are known.

    Returns:
        (h, w), uint8, or uint16 for files of 16 bits: by type, so that "ignore" is the same in all maps of a set.

    Raises:
        UnreadableImageError: A value is no class, or it cannot be told whether 255 is one.
    """
    values, ignore = labels.indices, 65535 if labels.wide else IGNORE_INDEX
    if reduce_zero_label:
        if labels.wide and num_classes is None and (values == IGNORE_INDEX).any():
            raise UnreadableImageError(
                "its annotation has 16 bits and the value 255, which is a class or means ignore; name the classes "
                "(--classes FILE)"
            )
        ignored = (values == 0) | ignored_pixels(values, labels.wide, num_classes)
        values = np.where(ignored, values.dtype.type(ignore), values - 1)  # 0 - 1 wraps round, and is ignored
    if num_classes is not None:
        _check_classes(values, labels, reduce_zero_label, num_classes)
    return values


def _check_classes(values: np.ndarray, labels: LabelIndices, reduce_zero_label: bool, num_classes: int) -> None:
    """Refuse values that are neither a class nor "ignore"."""
    wrong = (values >= num_classes) & ~ignored_pixels(values, labels.wide, num_classes)
    if not wrong.any():
        return
    first, largest = int(reduce_zero_label), int(labels.indices[wrong].max())
    hint = ""
    if largest == num_classes and not reduce_zero_label:
        hint = "; if 0 means ignore and classes count from 1, pass --reduce-zero-label"
    raise UnreadableImageError(
        f"its annotation has the value {largest}, expected {first} to {num_classes - 1 + first} for the {num_classes} "
        f"classes, or {IGNORE_INDEX} for pixels to ignore{hint}"
    )
