"""Label maps as people make them: read exactly, or refused with the reason; colours as the docs convert them."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.images.decoding import FORMATS, UnreadableImageError, decode_image
from seitpp.images.label_maps import distinct_colours, label_map_png

ORIENTATION = 0x0112
INDICES = (np.arange(48) % 5).astype(np.uint8).reshape(6, 8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def stored(content: bytes, **options: object) -> np.ndarray:
    """What a store keeps of a label map's file."""
    given = {"size": None, "mode": "exact", "reduce_zero_label": False, **options}
    with Image.open(io.BytesIO(label_map_png(content, **given))) as image:
        return np.asarray(image)


def packed_png(values: list[int], bits: int) -> bytes:
    """A grey PNG file of one row with 2 or 4 bits per pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    text = "".join(f"{value:0{bits}b}" for value in values)
    row = bytes(int(text[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(text), 8))
    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "PPM", "PCX", "SGI", "TGA"])
def test_lossless_formats_keep_every_value(kind: str) -> None:
    np.testing.assert_array_equal(stored(encoded(Image.fromarray(INDICES), kind)), INDICES)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_scaled(bits: int) -> None:
    values = list(range(2**bits))
    np.testing.assert_array_equal(stored(packed_png(values, bits)), [values])


def test_bilevel_map_has_classes_0_and_1() -> None:
    np.testing.assert_array_equal(stored(encoded(Image.fromarray(INDICES > 2))), INDICES > 2)


@pytest.mark.parametrize("kind", [name for name in ("JPEG", "WEBP", "JPEG2000", "AVIF") if name in FORMATS])
def test_lossy_formats_are_refused(kind: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"its annotation is a {kind} file, which may change values"):
        stored(encoded(Image.fromarray(INDICES), kind))


def test_lossy_compression_of_a_tiff_file_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="its annotation is a TIFF file, which may change values where"):
        stored(encoded(Image.fromarray(INDICES), "TIFF", compression="jpeg"))


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA", "CMYK", "F"])
def test_colours_are_refused(mode: str) -> None:
    content = encoded(Image.fromarray(INDICES).convert(mode), "TIFF")
    with pytest.raises(UnreadableImageError, match=rf"its annotation has colours \(mode {mode}\) .* map each colour"):
        stored(content)


@pytest.mark.parametrize(
    "content",
    [
        b"P5 2 2 20\n\x01\x02\x03\x14",
        b"P2 2 2 20\n1 2 3 20\n",
        encoded(Image.fromarray(INDICES > 2), "PPM"),
        encoded(Image.fromarray(INDICES), "TIFF", tiffinfo={262: 0}),
    ],
    ids=["pgm", "plain-pgm", "pbm", "white-is-zero"],
)
def test_scaled_and_inverted_values_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match=r"file whose values are scaled or inverted .*8-bit grey PNG"):
        stored(content)


# Orientation


def turned(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    return encoded(Image.fromarray(pixels), exif=exif.tobytes())


@pytest.mark.parametrize("orientation", [3, 6])
def test_map_is_turned_as_its_image(orientation: int) -> None:
    upright = np.rot90(INDICES, 2 if orientation == 3 else -1)
    content = turned(INDICES, orientation)
    np.testing.assert_array_equal(stored(content, image_size=upright.shape[::-1], orientation=orientation), upright)


@pytest.mark.parametrize(
    ("shape", "of_image", "of_map"),
    [((6, 6), 6, 1), ((6, 8), 3, 1), ((6, 8), 2, 1), ((6, 6), 1, 6), ((6, 8), 1, 3), ((6, 6), 6, 8), ((6, 6), 5, 6)],
)
def test_map_that_may_lie_another_way_is_refused(shape: tuple[int, int], of_image: int, of_map: int) -> None:
    message = f"its annotation has the EXIF orientation {of_map} and the image {of_image} .* save both upright"
    content = turned(np.zeros(shape, np.uint8), of_map)
    with pytest.raises(UnreadableImageError, match=message):
        stored(content, image_size=shape[::-1], orientation=of_image)


def test_shape_tells_that_a_map_was_drawn_upright() -> None:
    content = encoded(Image.fromarray(INDICES))
    np.testing.assert_array_equal(stored(content, image_size=(8, 6), orientation=6), INDICES)
    with pytest.raises(UnreadableImageError, match="its annotation has 8 x 6 pixels, which does not fit the image's 6"):
        stored(content, image_size=(6, 8), orientation=6)


# Classes


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            [0, 3],
            {},
            "has the value 3, expected 0 to 2 for the 3 classes, or 255 .* --reduce-zero-label",
        ),
        (
            [1, 254],
            {},
            "has the value 254, expected 0 to 2 for the 3 classes, or 255 for pixels to ignore$",
        ),
        ([0, 4], {"reduce_zero_label": True}, "its annotation has the value 4, expected 1 to 3 for the 3 classes"),
    ],
)
def test_values_beyond_the_classes_are_refused(values: list[int], options: dict, message: str) -> None:
    content = encoded(Image.fromarray(np.array([values], np.uint8)))
    with pytest.raises(UnreadableImageError, match=message):
        stored(content, num_classes=3, **options)


def test_ignored_pixels_are_no_class() -> None:
    wide = encoded(Image.fromarray(np.array([[0, 1, 255, 65535]], np.uint16)))
    np.testing.assert_array_equal(stored(wide, num_classes=2), [[0, 1, 255, 65535]])
    shifted = stored(wide, num_classes=2, reduce_zero_label=True)
    np.testing.assert_array_equal(shifted, [[65535, 0, 65535, 65535]])
    many = stored(wide, num_classes=300, reduce_zero_label=True)
    np.testing.assert_array_equal(many, [[65535, 0, 254, 65535]])
    with pytest.raises(UnreadableImageError, match=r"has 16 bits and the value 255, .* \(--classes FILE\)"):
        stored(wide, reduce_zero_label=True)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_largest_value_of_the_type_is_ignored(kind: type) -> None:
    largest = np.iinfo(kind).max
    content = encoded(Image.fromarray(np.array([[0, 1, largest]], kind)))
    np.testing.assert_array_equal(stored(content, num_classes=2), [[0, 1, largest]])


def test_stored_map_is_one_that_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seitpp.images.label_maps.MAX_PIXELS", 40)
    with pytest.raises(UnreadableImageError, match="its annotation has more than the 40 pixels that stores keep"):
        stored(encoded(Image.fromarray(INDICES)))
    assert stored(encoded(Image.fromarray(INDICES)), size=(3, 4)).shape == (3, 4)


def test_images_tell_the_orientation_that_was_applied() -> None:
    rgb = np.stack([INDICES] * 3, -1)
    for orientation in (1, 6):
        assert decode_image(turned(rgb, orientation)).info == {"orientation": orientation}
    tiff = encoded(Image.fromarray(rgb), "TIFF", tiffinfo={ORIENTATION: 6})
    assert decode_image(tiff).info == {"orientation": 6} and decode_image(tiff).size == (6, 8)


def test_colours_of_classes_differ() -> None:
    colours = np.array(distinct_colours(40))
    assert colours.min() >= 0
    assert colours.max() <= 255
    distances = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(40)
    assert distances.min() > 15


def test_masks_of_colours_become_indices_as_documented(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.array([[[0, 128, 0], [0, 0, 0]], [[128, 0, 0], [9, 9, 9]]], np.uint8)
    Image.fromarray(pixels).save("mask.png")
    text = (repository / "docs" / "segmentation.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "mask.png" in block)
    exec(code, {})
    with Image.open("indices.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[2, 0], [1, 255]]
