"""`recompress`: size, quality, colours, orientation, and what cannot be read."""

import io

import numpy as np
import pytest
from PIL import Image

from seitpp.images.decoding import UnreadableImageError
from seitpp.images.recompressing import check_image, recompress

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_quality_is_that_of_pillow_with_colours_at_half_size() -> None:
    image = Image.fromarray(PIXELS)
    assert recompress(file_of(image), 5) == file_of(image, "JPEG", quality=5, subsampling="4:2:0")
    assert recompress(file_of(image)) == file_of(image, "JPEG", quality=75, subsampling=2)


def test_scale_is_of_both_sides_and_bicubic_with_antialiasing() -> None:
    image = Image.fromarray(PIXELS)
    small = recompress(file_of(image), 75, 0.2)
    assert small == file_of(image.resize((6, 4), Image.Resampling.BICUBIC), "JPEG", quality=75)
    assert opened(recompress(file_of(Image.new("L", (100, 1))), 75, 0.2)).size == (20, 1)


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("1", "L"), ("L", "L"), ("LA", "L"), ("I;16", "L"), ("P", "RGB"), ("RGBA", "RGB"), ("RGB", "RGB")],
)
def test_grey_stays_grey_and_all_else_becomes_rgb(mode: str, kept: str) -> None:
    assert opened(recompress(file_of(Image.new(mode, (9, 9))), 50)).mode == kept


def test_cmyk_becomes_rgb() -> None:
    result = opened(recompress(file_of(Image.new("CMYK", (9, 9), (255, 0, 0, 0)), "JPEG", quality=95), 95))
    red, green, blue = result.getpixel((4, 4))
    assert result.mode == "RGB" and red < 80 < green and blue > 80


def test_orientation_is_applied_and_no_metadata_stay() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    result = opened(recompress(file_of(Image.fromarray(PIXELS), "JPEG", exif=exif, comment=b"x"), 75))
    assert result.size == (20, 31)
    assert not result.getexif() and "comment" not in result.info


def test_unreadable_images_are_refused_with_a_reason() -> None:
    whole = file_of(Image.fromarray(PIXELS), "JPEG")
    for work in (recompress, check_image):
        with pytest.raises(UnreadableImageError, match=r"(?i)truncated"):
            work(whole[: len(whole) // 2])
        with pytest.raises(UnreadableImageError, match="no known image format"):
            work(b"no image")
    with pytest.raises(UnreadableImageError, match="raise max_pixels"):
        recompress(whole, max_pixels=600)
    with pytest.raises(UnreadableImageError, match="70000 x 1 pixels, and a JPEG file at most 65,500 per side"):
        recompress(file_of(Image.new("L", (70_000, 1))), 75)
    assert check_image(whole) == "JPEG"
