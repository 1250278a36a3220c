"""Image files to the 8-bit pixels that tokenizers take: orientation, colour modes, size. Pillow only, no torch.

Runs in loader workers, one image at a time; what cannot be read raises `UnreadableImageError` with the reason.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from seitpp.images.image_files import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    UnreadableImageError,
    decoded_image,
)
from seitpp.images.label_files import read_label_indices, stored_labels
from seitpp.images.resizing import check_resize_rule, halved, scaled

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "UnreadableImageError",
    "check_not_smaller_than_patch",
    "cover_size",
    "decode_image",
    "fit_image",
    "label_map_png",
    "pixels_of",
    "to_eight_bit",
]

_MAX_RESIZED_PIXELS = 2**26


def decode_image(content: bytes, in_channels: int = 3, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in a file's bytes, upright, as RGB (3 channels) or grey (1), 8 bits per channel.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits, of an animation the
    first frame is taken. Colour profiles are ignored, as ImageNet pipelines do. The image's `info` tells the
    `orientation` that was applied.

    Raises:
        UnreadableImageError: The bytes are damaged, cut off, of no known format, have values without a known scale, or
            more than `max_pixels` pixels.
    """
    with decoded_image(content, max_pixels) as decoded:
        image = to_eight_bit(decoded.image, in_channels)
    image.info = {"orientation": decoded.orientation}  # what a label map beside it must agree with
    return image


def to_eight_bit(image: Image.Image, in_channels: int = 3) -> Image.Image:
    """Any Pillow image as RGB (3 channels) or L (1 channel)."""
    if image.mode == "F":
        raise UnreadableImageError("it holds 32-bit floats, whose range is not known; convert it to 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_sixteen_bit(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    mode = "RGB" if in_channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)  # Pillow would copy it


def _from_sixteen_bit(values: np.ndarray) -> Image.Image:
    """Grey values (H, W) in [0, 65535] to 8 bits; 65535 / 255 = 257."""
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError(
            f"it holds integers from {values.min()} to {values.max()}, more than 16 bits; convert it to 8 or 16 bits"
        )
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def fit_image(
    image: Image.Image,
    size: tuple[int, int],
    mode: str = "exact",
    resample: Image.Resampling | None = None,
    rule: str = "bicubic",
) -> Image.Image:
    """Bring an image to `size` (height, width) as a tokenizer wants it.

    Args:
        image: The image; RGB or grey, 8 bits, for any other rule than `bicubic`.
        size: Height and width wanted.
        mode: `exact` (aspect not kept) or `center-crop` (scaled until `size` is covered, then cut from the centre).
        resample: Filter in place of the rule's; nearest for label maps.
        rule: By which filters, see `seitpp.images.resizing`.

    Raises:
        UnreadableImageError: It is so long and thin that covering `size` would take gigabytes.
    """
    height, width = size
    if mode not in ("exact", "center-crop"):
        raise ValueError(f"resize mode is {mode!r}, expected 'exact' or 'center-crop'")
    check_resize_rule(rule)
    if rule == "llamagen" and resample is None:
        image = halved(image, size)
    rows, columns = size if mode == "exact" else cover_size((image.height, image.width), size)
    if mode != "exact" and rows * columns > _MAX_RESIZED_PIXELS:
        raise UnreadableImageError(
            f"it has {image.width} x {image.height} pixels, too long a strip to be scaled until it covers {width} x "
            f"{height}"
        )
    if image.size != (columns, rows):
        image = scaled(image, (rows, columns), rule) if resample is None else image.resize((columns, rows), resample)
    if mode == "exact":
        return image
    left, top = (columns - width) // 2, (rows - height) // 2
    return image.crop((left, top, left + width, top + height))


def cover_size(size: Sequence[int], target: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image scaled, aspect kept, until it just covers the target."""
    scale = max(target[0] / size[0], target[1] / size[1])
    return max(target[0], round(size[0] * scale)), max(target[1], round(size[1] * scale))


def check_not_smaller_than_patch(image: Image.Image, patch: int) -> None:
    """Refuse an image that is smaller than one patch of `patch` pixels a side: blowing it up would invent it."""
    if min(image.size) < patch:
        raise UnreadableImageError(
            f"it has {image.width} x {image.height} pixels, less than one patch of {patch} x {patch}"
        )


def pixels_of(image: Image.Image) -> np.ndarray:
    """Pixels (C, H, W), uint8, of an RGB or grey image."""
    array = np.asarray(image)
    return np.ascontiguousarray(array.transpose(2, 0, 1) if array.ndim == 3 else array[None])


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
    """A label map as the greyscale PNG that a store keeps.

    Args:
        content: Bytes of a PNG (or other lossless image) whose pixels are class indices: grey or palette.
        size: Height and width to bring it to, by nearest neighbour; None keeps its size.
        mode: Resize rule, that of the image.
        reduce_zero_label: Whether 0 means "ignore": it becomes the type's largest value (255, or 65535 where pixels
            have 16 bits), and k becomes k - 1.
        image_size: Width and height of the upright image, which may have another resolution but not another shape.
        max_pixels: Most pixels that the file may have.
        orientation: EXIF orientation of the image's file, which was applied.
        num_classes: Classes C, if they are known: other values than those below C and "ignore" are refused.

    Raises:
        UnreadableImageError: It is damaged, lossy, has colours or values that are no classes, does not fit the image,
            is not turned as the image is, or has too many pixels.
    """
    labels = read_label_indices(content, max_pixels)
    height, width = labels.indices.shape
    if image_size is not None:
        _check_shape((width, height), image_size)
        _check_orientation(labels.orientation, orientation, (width, height), image_size)
    indices = stored_labels(labels, reduce_zero_label, num_classes)
    if size is None and indices.size > MAX_PIXELS:
        raise UnreadableImageError(
            f"its annotation has more than the {MAX_PIXELS:,} pixels that stores keep; bring it down by --label-size"
        )
    plain = Image.fromarray(indices)
    if size is not None:
        plain = fit_image(plain, size, mode, Image.Resampling.NEAREST)
    file = io.BytesIO()
    plain.save(file, format="PNG", optimize=False, compress_level=6)
    return file.getvalue()


def _check_shape(map_size: tuple[int, int], image_size: tuple[int, int]) -> None:
    """Compare the shapes of a label map and its image, both (width, height), upright."""
    if not _same_shape(map_size, image_size):
        raise UnreadableImageError(
            f"its annotation has {map_size[0]} x {map_size[1]} pixels, which does not fit the image's {image_size[0]} "
            f"x {image_size[1]} (upright, as EXIF says)"
        )


def _check_orientation(
    map_orientation: int, orientation: int, map_size: tuple[int, int], image_size: tuple[int, int]
) -> None:
    """Refuse a label map that may lie in another way than its image.

    Where EXIF turns the image and says nothing of the map, its shape tells that it was drawn upright, but only where
    height and width change places and differ.
    """
    swapped = (image_size[1], image_size[0])
    told_by_shape = map_orientation == 1 and orientation >= 5 and not _same_shape(map_size, swapped)
    if map_orientation != orientation and not told_by_shape:
        raise UnreadableImageError(
            f"its annotation has the EXIF orientation {map_orientation} and the image {orientation} (1: upright), so "
            "it is not known whether it is turned as the image is; save both upright, without an orientation"
        )


def _same_shape(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have the same aspect, up to a pixel of the first."""
    return abs(small[0] * large[1] - small[1] * large[0]) <= max(large)
