"""Label maps of a segmentation store: their files, their values, and how often each class occurs. No torch.

A store keeps the map of sample 12 as `labels/00000012.png`, grey with 8 or 16 bits; a pixel is a class index, and the
largest value of the type means "ignore" (docs/storage_format.md).
"""

import colorsys
import os
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.images.image_files import UnreadableImageError, decoded_image
from seitpp.images.label_files import IGNORE_INDEX, TO_INDICES, ignored_pixels
from seitpp.io.untrusted import read_file, shown
from seitpp.storage import StoreReader
from seitpp.storage.format import LABEL_MAPS, Progress

_MAX_BYTES = 1 << 30


def label_map_path(store: str | Path, number: int) -> Path:
    """File of a sample's label map."""
    return Path(store, LABEL_MAPS, f"{number:08d}.png")


def require_label_maps(reader: StoreReader) -> None:
    """Compare the label maps that there are with the samples, by their names alone.

    Raises:
        ValueError: It is a store of another kind, or a sample has no label map, or a label map no sample.
        FileNotFoundError: The folder of the label maps is missing.
    """
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


def shifted_zero_label(reader: StoreReader) -> bool:
    """Whether 0 became "ignore" and k became k - 1 when the store was made, as its header says."""
    return bool(label_map_metadata(reader).get("reduce_zero_label", False))


def label_map_metadata(reader: StoreReader) -> dict[str, Any]:
    """How label maps were made, as the store's header says: `size` and `reduce_zero_label`; empty if it says nothing.

    Raises:
        ValueError: The header says something else.
    """
    found = reader.header["source"].get("label_maps", {})
    if not isinstance(found, dict) or type(found.get("reduce_zero_label", False)) is not bool:
        raise ValueError(
            f"{reader.path}: source.label_maps in header.json is {shown(found)}, expected an object with "
            "reduce_zero_label true or false"
        )
    return found


def read_label_map(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """Values of a label map, (h, w), uint8 or uint16.

    Args:
        path: The file.
        content: Its bytes, such as those of `StoreReader.read_label_map`, which compares them with the store's record.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is damaged, or holds colours.
    """
    if content is None:
        content = read_file(path, "label map", at_most=_MAX_BYTES)
    try:
        with decoded_image(content, formats=["PNG"]) as decoded:
            mode, layout, values = decoded.image.mode, decoded.raw_mode, np.asarray(decoded.image)
    except UnreadableImageError as error:
        raise ValueError(f"{path} cannot be read ({error}); copy or make the store again") from error
    if layout == "L":
        return values
    if layout != "I;16B":
        raise ValueError(
            f"{path} has mode {mode} where grey class indices are expected, 8 or 16 bits per pixel; {TO_INDICES}"
        )
    return values.astype(np.uint16)


def checked_labels(values: np.ndarray, num_classes: int, path: str | Path, shifted: bool) -> np.ndarray:
    """Values of a label map as training takes them.

    Args:
        values: (h, w), uint8 or uint16, as they are stored.
        num_classes: Classes C, at most 255.
        path: Their file, for messages.
        shifted: Whether the store's header says that 0 became "ignore" already.

    Returns:
        Class indices below C and `IGNORE_INDEX`, (h, w), uint8.

    Raises:
        ValueError: A value is neither a class nor "ignore".
    """
    ignored = ignored_pixels(values, values.dtype == np.uint16)
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


def label_histogram(reader: StoreReader, progress: Progress | None = None) -> dict[str, Any]:
    """How often each class occurs in the label maps of a store.

    Args:
        reader: The store.
        progress: Called with label maps done and their total.

    Returns:
        `pixels` in all, `ignored_pixels`, `ignored_share` of all pixels, and `classes`: for each class name, and each
        value that occurs, `class`, `name` (None beyond the names), `pixels`, `share` of the pixels not ignored, and
        `images` in which it occurs.

    Raises:
        ValueError: As `require_label_maps` and `read_label_map`.
    """
    require_label_maps(reader)
    names = reader.classes or []
    pixels, images, ignored = np.zeros(65536, np.int64), np.zeros(65536, np.int64), 0
    for number in range(len(reader)):
        values = read_label_map(label_map_path(reader.path, number), reader.read_label_map(number))
        left_out = ignored_pixels(values, values.dtype == np.uint16, len(names) or None)
        counts = np.bincount(values[~left_out], minlength=len(pixels))
        ignored += int(left_out.sum())
        pixels += counts
        images += counts > 0
        if progress is not None:
            progress(number + 1, len(reader))
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
    """Colours (RGB) for classes without any of their own, always the same: hues a golden section apart."""
    return [
        [round(255 * value) for value in colorsys.hsv_to_rgb(0.618034 * number % 1, 1 - 0.2 * (number % 3), 0.9)]
        for number in range(count)
    ]
