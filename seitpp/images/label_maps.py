"""Label maps for segmentation: from the files that people make to those that a store keeps, and to training.

A store keeps the map of sample 12 as `labels/00000012.png`, grey with 8 or 16 bits; a pixel is a class index, and the
largest value of the type means "ignore" (docs/storage_format.md). Where annotations count classes from 1 and 0 means
"ignore" (ADE20K), making the store shifts them: 0 becomes "ignore" and k becomes k - 1. No torch.
"""

import colorsys
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from seitpp.images.decoding import MAX_PIXELS, UnreadableImageError, decoded_image
from seitpp.images.resizing import fit_image
from seitpp.io.text import shown
from seitpp.storage import StoreReader
from seitpp.storage.header import LABEL_MAPS, Progress
from seitpp.storage.label_files import label_file

IGNORE_INDEX = 255
"""Value of pixels that neither train nor count; mmseg's default. In maps of 16 bits 65535 means the same."""

_TO_INDICES = "map each colour to its class index and save that as an 8-bit grey PNG (docs/segmentation.md shows how)"
_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM", "PCX", "SGI", "SUN", "TGA")
_LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
_GREY_MODES = ("L", "P", "1", "I", "I;16", "I;16B")
# Grey of 2 and 4 bits, which Pillow scales to 0..255.
_SCALES = {("PNG", "L;2"): 85, ("PNG", "L;4"): 17}


# From an annotation's file to the file of a store


class LabelIndices(NamedTuple):
    """Class indices (h, w) of an annotation's file, upright: uint8, or uint16 for pixels of 16 bits or more."""

    indices: np.ndarray
    orientation: int  # by EXIF, which was applied


def label_map_png(
    content: bytes,
    size: tuple[int, int] | None,
    mode: str,
    reduce_zero_label: bool,
    image_size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    orientation: int = 1,
    num_classes: int | None = None,
) -> bytes:
    """Return a label map as the greyscale PNG that a store keeps.

    Args:
        content: Bytes of a PNG (or other lossless image) whose pixels are class indices: grey or palette.
        size: Height and width to bring it to, by nearest neighbour; None keeps its size.
        mode: `exact` or `center-crop`, that of the image; see `fit_image`.
        reduce_zero_label: Whether 0 means "ignore": it becomes the type's largest value (255, or 65535 where pixels
            have 16 bits), and k becomes k - 1.
        image_size: Width and height of the upright image, which may have another resolution but not another shape.
        max_pixels: Most pixels that the file may have.
        orientation: EXIF orientation of the image's file, which was applied.
        num_classes: Classes C, if they are known: other values than those below C and "ignore" are refused.

    Raises:
        UnreadableImageError: As `read_label_indices`; or values are no classes, or the map does not fit the image.
    """
    labels = read_label_indices(content, max_pixels)
    if image_size is not None:
        _check_fits(labels, image_size, orientation)
    indices = _stored_indices(labels, reduce_zero_label, num_classes)
    if size is None and indices.size > MAX_PIXELS:
        raise UnreadableImageError(
            f"its annotation has more than the {MAX_PIXELS:,} pixels that stores keep; bring it down by --label-size"
        )
    image = Image.fromarray(indices)
    if size is not None:
        image = fit_image(image, size, mode, Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=False, compress_level=6)
    return file.getvalue()


def read_label_indices(content: bytes, max_pixels: int = MAX_PIXELS) -> LabelIndices:
    """Return the class indices in an annotation's file; refuse lossy files, colours and scaled values."""
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
            f"its annotation has colours (mode {mode}) where class indices are expected; {_TO_INDICES}"
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
    return LabelIndices(indices if scale == 1 else indices // scale, decoded.orientation)


def _check_fits(labels: LabelIndices, image_size: tuple[int, int], orientation: int) -> None:
    """Refuse a label map of another shape than its image (width, height, upright), or that may be turned otherwise.

    Where EXIF turns the image and says nothing of the map, the map's shape tells that it was drawn upright, but only
    where turning exchanges height and width, and they differ.
    """
    height, width = labels.indices.shape
    if not _same_shape((width, height), image_size):
        raise UnreadableImageError(
            f"its annotation has {width} x {height} pixels, which does not fit the image's {image_size[0]} x "
            f"{image_size[1]} (upright, as EXIF says)"
        )
    told_by_shape = labels.orientation == 1 and orientation >= 5 and not _same_shape((width, height), image_size[::-1])
    if labels.orientation != orientation and not told_by_shape:
        raise UnreadableImageError(
            f"its annotation has the EXIF orientation {labels.orientation} and the image {orientation} (1: upright), "
            "so it is not known whether it is turned as the image is; save both upright, without an orientation"
        )


def _same_shape(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Return whether two sizes (width, height) have the same aspect, up to a pixel of the first."""
    return abs(small[0] * large[1] - small[1] * large[0]) <= max(large)


def _stored_indices(labels: LabelIndices, reduce_zero_label: bool, num_classes: int | None) -> np.ndarray:
    """Return values as a store keeps them, (h, w): classes from 0, and the type's largest value or 255 for "ignore".

    The type follows the file, uint8 or uint16, so that "ignore" is the same in all maps of a set.
    """
    values = labels.indices
    if reduce_zero_label:
        wide = values.dtype == np.uint16
        if wide and num_classes is None and (values == IGNORE_INDEX).any():
            raise UnreadableImageError(
                "its annotation has 16 bits and the value 255, which is a class or means ignore; name the classes "
                "(--classes FILE)"
            )
        ignored = (values == 0) | _ignored(values, num_classes)
        ignore = values.dtype.type(65535 if wide else IGNORE_INDEX)
        values = np.where(ignored, ignore, values - 1)  # 0 - 1 wraps round, and is ignored
    if num_classes is not None and (wrong := (values >= num_classes) & ~_ignored(values, num_classes)).any():
        first, largest = int(reduce_zero_label), int(labels.indices[wrong].max())
        hint = ""
        if largest == num_classes and not reduce_zero_label:
            hint = "; if 0 means ignore and classes count from 1, pass --reduce-zero-label"
        raise UnreadableImageError(
            f"its annotation has the value {largest}, expected {first} to {num_classes - 1 + first} for the "
            f"{num_classes} classes, or {IGNORE_INDEX} for pixels to ignore{hint}"
        )
    return values


def _ignored(values: np.ndarray, num_classes: int | None = None) -> np.ndarray:
    """Return which pixels of a map (uint8 or uint16) mean "ignore": 65535, and 255 unless a class has this index."""
    ignored = values == 65535
    return ignored if (num_classes or 0) > IGNORE_INDEX else ignored | (values == IGNORE_INDEX)


# From the files of a store to training


def label_map_path(store: str | Path, number: int) -> Path:
    """Return the file of a sample's label map."""
    return Path(store, label_file(number))


def require_label_maps(reader: StoreReader) -> None:
    """Refuse a store unless each sample has a label map and each label map a sample, by the files' names only."""
    if (kind := reader.header["labels"]["kind"]) != "segmentation":
        raise ValueError(
            f"{reader.path} has labels of kind {kind!r}, expected 'segmentation': a store that "
            "tools/tokenize_images.py made of images with annotations"
        )
    folder = reader.path / LABEL_MAPS
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: copy the label maps along with the rest of the store")
    with os.scandir(folder) as entries:
        found = {entry.name for entry in entries if entry.name.endswith(".png")}
    wanted = {label_map_path("", number).name for number in range(len(reader))}
    if missing := sorted(wanted - found):
        raise ValueError(
            f"{folder} lacks the label maps of {len(missing)} of {len(reader)} samples, such as {missing[0]}; copy or "
            "make the store again"
        )
    if extra := sorted(found - wanted):
        raise ValueError(
            f"{folder} has {len(extra)} label maps without a sample, such as {extra[0]}, where the store has "
            f"{len(reader)} samples; are these maps of another store?"
        )


def label_map_metadata(reader: StoreReader) -> dict[str, Any]:
    """Return how label maps were made: `size` and `reduce_zero_label`; empty if the store's header says nothing."""
    found = reader.header["source"].get("label_maps", {})
    if not isinstance(found, dict) or type(found.get("reduce_zero_label", False)) is not bool:
        raise ValueError(
            f"{reader.path}: source.label_maps in header.json is {shown(found)}, expected an object with "
            "reduce_zero_label true or false"
        )
    return found


def read_label_map(path: str | Path, content: bytes) -> np.ndarray:
    """Return the values of a label map, (h, w), uint8 or uint16, from what `StoreReader.read_label_map` read."""
    try:
        with decoded_image(content, formats=["PNG"]) as decoded:
            mode, layout, values = decoded.image.mode, decoded.raw_mode, np.asarray(decoded.image)
    except UnreadableImageError as error:
        raise ValueError(f"{path} cannot be read ({error}); copy or make the store again") from error
    if layout == "L":
        return values
    if layout != "I;16B":
        raise ValueError(
            f"{path} has mode {mode} where grey class indices are expected, 8 or 16 bits per pixel; {_TO_INDICES}"
        )
    return values.astype(np.uint16)


def checked_labels(values: np.ndarray, num_classes: int, path: str | Path, shifted: bool) -> np.ndarray:
    """Return stored values, (h, w), as training takes them: class indices below C <= 255 and `IGNORE_INDEX`, uint8.

    `shifted` says whether 0 became "ignore" already when the store was made. Other values are refused.
    """
    ignored = _ignored(values)
    if (wrong := (values >= num_classes) & ~ignored).any():
        largest, hint = int(values[wrong].max()), ""
        if largest == num_classes and not shifted and (values == 0).any():
            hint = (
                f". Labels from 0 to {num_classes} look as if 0 meant 'ignore' and classes counted from 1: make the "
                "store again with --reduce-zero-label"
            )
        raise ValueError(
            f"{path} has the label {largest}, expected 0 to {num_classes - 1} for {num_classes} classes, or "
            f"{IGNORE_INDEX} for pixels to ignore{hint}"
        )
    return np.where(ignored, IGNORE_INDEX, values).astype(np.uint8)


def label_histogram(
    reader: StoreReader, progress: Progress | None = None, samples: Sequence[int] | None = None
) -> dict[str, Any]:
    """Count how often each class occurs in the label maps of a store, or of some of its samples.

    Returns:
        `pixels` in all, `ignored_pixels`, `ignored_share` of all pixels, and `classes`: for each class name, and each
        value that occurs, `class`, `name` (None beyond the names), `pixels`, `share` of the pixels not ignored, and
        `images` in which it occurs.
    """
    require_label_maps(reader)
    names = reader.classes or []
    pixels, images, ignored = np.zeros(65536, np.int64), np.zeros(65536, np.int64), 0
    samples = range(len(reader)) if samples is None else samples
    for done, number in enumerate(samples, start=1):
        values = read_label_map(label_map_path(reader.path, number), reader.read_label_map(number))
        left_out = _ignored(values, len(names) or None)
        counts = np.bincount(values[~left_out], minlength=len(pixels))
        ignored += int(left_out.sum())
        pixels += counts
        images += counts > 0
        if progress is not None:
            progress(done, len(samples))
    total = int(pixels.sum())
    return {
        "pixels": total + ignored,
        "ignored_pixels": ignored,
        "ignored_share": ignored / max(total + ignored, 1),
        "classes": [
            {
                "class": index,
                "name": names[index] if index < len(names) else None,
                "pixels": int(pixels[index]),
                "share": int(pixels[index]) / max(total, 1),
                "images": int(images[index]),
            }
            for index in sorted({*range(len(names)), *np.flatnonzero(pixels).tolist()})
        ],
    }


def distinct_colours(count: int) -> list[list[int]]:
    """Return colours (RGB) for classes without any of their own, always the same: hues a golden section apart."""
    return [
        [round(255 * value) for value in colorsys.hsv_to_rgb(0.618034 * number % 1, 1 - 0.2 * (number % 3), 0.9)]
        for number in range(count)
    ]
