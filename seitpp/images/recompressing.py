"""An image file to a smaller JPEG file: fewer pixels, a lower quality, or both. No torch: loader workers use this."""

import io

from PIL import Image

from seitpp.images.decoding import MAX_PIXELS, UnreadableImageError, decoded_image, to_eight_bit

DEFAULT_QUALITY = 75  # Pillow's
_GREY_MODES = ("1", "L", "LA", "La", "I")
_LONGEST_SIDE = 65_500  # pixels that libjpeg takes
_SUBSAMPLING = "4:2:0"  # Pillow's default at any quality


def recompress(
    content: bytes, quality: int = DEFAULT_QUALITY, scale: float = 1.0, max_pixels: int = MAX_PIXELS
) -> bytes:
    """Return the image in a file's bytes as a JPEG file, upright, grey where it was grey, else RGB.

    No metadata are kept. CMYK becomes RGB, transparency is laid over white, 16 bits become 8, of an animation the first
    frame is taken.

    Args:
        content: The bytes of a file of any format that is read here.
        quality: JPEG quality from 1 to 100, on the scale of the IJG's library; colours are kept at half the rows and
            columns (4:2:0).
        scale: Factor of height and width, in (0, 1], rounded to whole pixels and at least one; bicubic with
            antialiasing.
        max_pixels: Most pixels that the image may have.

    Raises:
        UnreadableImageError: It cannot be decoded, or it has more rows or columns than a JPEG file can have.
    """
    with decoded_image(content, max_pixels) as decoded:
        is_grey = decoded.image.mode in _GREY_MODES or decoded.image.mode.startswith("I;16")
        image = to_eight_bit(decoded.image, 1 if is_grey else 3)
        if scale != 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.BICUBIC)
        if max(image.size) > _LONGEST_SIDE:
            found = f"{image.width} x {image.height}"
            raise UnreadableImageError(f"it has {found} pixels, and a JPEG file at most {_LONGEST_SIDE:,} per side")
        image.info = {}  # Pillow would write a comment of the old file
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, subsampling=_SUBSAMPLING)
    return file.getvalue()


def check_image(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Return the format of the image in a file's bytes, such as `JPEG`; raise `UnreadableImageError` for no image."""
    with decoded_image(content, max_pixels) as decoded:
        to_eight_bit(decoded.image)
        return decoded.format


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as a PNG file, without loss."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
