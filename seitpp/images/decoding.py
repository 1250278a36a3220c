"""Image files to pixels: no programs, bounded sizes, upright, 8 bits per channel, errors as reasons.

Pillow chooses a decoder by a file's content, whatever its name says. Some of its decoders start programs (PostScript
starts Ghostscript), others open whatever they find inside; here it may choose among those of plain pictures only. What
cannot be decoded raises `UnreadableImageError` with the reason. No torch: loader workers use this module.
"""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from seitpp.io.untrusted import PARSER_ERRORS

MAX_PIXELS = 89_478_485
"""Most pixels that an image or label map has by default: as many as Pillow takes without a warning, 268 MB as RGB."""

# Tried in this order; TGA last, whose files have no signature. Left out: PostScript, PDF and Windows metafiles, which
# run programs, and containers that open further images inside (icons, IPTC, BLP, ...).
_PLAIN = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "PCX", "QOI", "SGI", "SUN", "TGA"),
)
Image.init()
FORMATS = tuple(name for name in _PLAIN if name in Image.OPEN)
"""Names of the formats that are read here, as far as the installed Pillow has them."""
IMAGE_SUFFIXES = tuple(sorted(ending for ending, name in Image.EXTENSION.items() if name in (*FORMATS, "MPO")))
"""Endings of their files, in lower case."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DECODER_ERRORS = (*PARSER_ERRORS, OSError, RuntimeError, AssertionError, Image.DecompressionBombError)
_LIMIT_LOCK = threading.Lock()


class UnreadableImageError(ValueError):
    """An image that cannot become pixels; the message says why, without the image's name."""


class DecodedImage(NamedTuple):
    """The first picture of a file, upright, in the mode that Pillow gives it.

    `orientation` is the EXIF orientation, 1 to 8, that was applied. `raw_mode` says how the file lays out its values,
    in Pillow's words, such as `L;2`: grey of 2 bits, which Pillow scales to 8; empty where the format does not say.
    `compression` is that of a TIFF file, such as `jpeg`; else empty.
    """

    image: Image.Image
    format: str
    orientation: int
    raw_mode: str
    compression: str


def decode_image(content: bytes, in_channels: int = 3, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the image in a file's bytes, upright, as RGB (3 channels) or grey (1), 8 bits per channel.

    EXIF orientation is applied (and kept in the image's `info`), transparency is laid over white, 16-bit grey is scaled
    to 8 bits, of an animation the first frame is taken. Colour profiles are ignored, as ImageNet pipelines do.
    """
    with decoded_image(content, max_pixels) as decoded:
        image = to_eight_bit(decoded.image, in_channels)
    image.info = {"orientation": decoded.orientation}  # what a label map beside it must agree with
    return image


def to_eight_bit(image: Image.Image, in_channels: int = 3) -> Image.Image:
    """Return any Pillow image as RGB (3 channels) or L (1 channel)."""
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
    """Scale grey values (H, W) in [0, 65535] to 8 bits; 65535 / 255 = 257."""
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError(
            f"it holds integers from {values.min()} to {values.max()}, more than 16 bits; convert it to 8 or 16 bits"
        )
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def upright_image(image: Image.Image) -> Image.Image:
    """Return an image that somebody opened as `decode_image` would: loaded, and turned as its EXIF entry says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            orientation = 1 if image.format == "TIFF" else _orientation_of(image)  # which Pillow turned already
            return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(f"{type(error).__name__}: {error}".strip(": ")) from error


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return the pixels (C, H, W), uint8, of an RGB or grey image."""
    array = np.asarray(image)
    return np.ascontiguousarray(array.transpose(2, 0, 1) if array.ndim == 3 else array[None])


@contextlib.contextmanager
def decoded_image(
    content: bytes, max_pixels: int = MAX_PIXELS, formats: Sequence[str] = FORMATS
) -> Iterator[DecodedImage]:
    """Yield the first picture in a file's bytes. Whatever Pillow raises in the block becomes a reason, too.

    The pixels in the header are compared with `max_pixels` before anything is decoded.

    Raises:
        UnreadableImageError: They are damaged, cut off, of none of the formats, or of more pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, for example; what matters is an error
            with _opened(content, max_pixels, formats) as image:
                yield _decoded(image, content, max_pixels)
    except UnreadableImageError:
        raise
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(_reason(error, content, max_pixels)) from error


def _decoded(image: Image.Image, content: bytes, max_pixels: int) -> DecodedImage:
    raw_mode, compression = _raw_mode(image), str(image.info.get("compression", ""))
    is_tiff = image.format == "TIFF"  # which Pillow turns while it decodes; a PNG file tells only afterwards
    before = _orientation_of(image) if is_tiff else 1
    image.load()
    if image.format == "PNG":  # whose decoding skips the checksums of pixels
        with _opened(content, max_pixels, ["PNG"]) as again:
            again.verify()
    orientation = before if is_tiff else _orientation_of(image)
    upright = image if is_tiff or orientation == 1 else image.transpose(_UPRIGHT[orientation])
    return DecodedImage(upright, str(image.format), orientation, raw_mode, compression)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Return the layout of the values of an image that is not decoded yet."""
    arguments = image.tile[0][3] if image.tile else ""
    mode = arguments[0] if isinstance(arguments, tuple) else arguments
    scaled = image.tile and image.tile[0][0].startswith("ppm")  # by a largest value of the file's own
    return f"{mode};scaled" if scaled else mode if isinstance(mode, str) else ""


def _orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where there is none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS:  # of other entries: they say nothing about the pixels
        return 1
    return value if value in _UPRIGHT else 1


def _opened(content: bytes, max_pixels: int, formats: Sequence[str]) -> Image.Image:
    with _pillow_limit(max_pixels):
        image = Image.open(io.BytesIO(content), "r", list(formats))
    if image.width * image.height > max_pixels:
        raise UnreadableImageError(_too_large(f"{image.width} x {image.height}", max_pixels))
    return image


@contextlib.contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Raise Pillow's own limit, which is of the whole process, while a header is read that may lie above it."""
    if Image.MAX_IMAGE_PIXELS is None or max_pixels <= 2 * Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _LIMIT_LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _too_large(found: str, max_pixels: int) -> str:
    return f"it has {found} pixels, more than the {max_pixels:,} allowed; raise max_pixels (--max-pixels) to read it"


def _reason(error: BaseException, content: bytes, max_pixels: int) -> str:
    if not content:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is of no known image format, or its header is damaged"
    if isinstance(error, Image.DecompressionBombError):
        return f"{_too_large('far too many', max_pixels)} ({type(error).__name__}: {error})"
    if "MAX_TEXT" in str(error) or "decompressed data too large" in str(error).lower():
        return f"its metadata unpack to more than a megabyte ({error})"
    return f"{type(error).__name__}: {error}".strip(": ")
