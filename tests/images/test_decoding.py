"""`seitpp.images.decoding`: any image file to upright 8-bit pixels, or a reason why not."""

import io
import random
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from seitpp.images.decoding import UnreadableImageError, decode_image, pixels_of
from seitpp.images.label_maps import label_map_png as label_map
from seitpp.images.resizing import check_not_smaller_than_patch, fit_image

WHITE = (255, 255, 255)
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0]) if bands == 1 else (size[1], size[0], bands)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), mode)


def colours(content: bytes, channels: int = 3) -> np.ndarray:
    return np.asarray(decode_image(content, channels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10  # (2 rows, 3 columns)
    # How EXIF 2.3 defines the stored rows and columns.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif.tobytes())
    np.testing.assert_array_equal(colours(content), upright)


def test_damaged_exif_is_no_reason_to_warn() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    content = encoded(noise(), "JPEG", exif=exif.tobytes()[:-6])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(content).mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_colour_modes_become_rgb(mode: str, kind: str) -> None:
    image = noise("RGB").convert(mode)
    content = encoded(image.convert("L") if (mode, kind) == ("1", "JPEG") else image, kind)
    with Image.open(io.BytesIO(content)) as expected:
        np.testing.assert_array_equal(colours(content), np.asarray(expected.convert("RGB")))
    assert decode_image(content, in_channels=1).mode == "L"


def test_grey_becomes_three_equal_channels() -> None:
    pixels = colours(encoded(noise("L")))
    assert (pixels == np.asarray(noise("L"))[..., None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    image = Image.fromarray(values.astype(np.int32)) if kind == "PPM" else Image.fromarray(values)
    np.testing.assert_array_equal(colours(encoded(image, kind), 1), [[0, 0, 1, 1, 128, 255]])


def test_sixteen_bit_rgb_png() -> None:
    values = np.array([[[0, 257, 65535], [256, 32896, 65000]]], np.uint16)
    done, content = cv2.imencode(".png", values[..., ::-1])
    assert done
    difference = colours(content.tobytes()).astype(int) - values / 257
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (1, 1), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 0)), WHITE),
        (Image.new("RGBA", (1, 1), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (1, 1), (7, 0)), WHITE),
        (Image.new("LA", (1, 1), (7, 255)), (7, 7, 7)),
    ],
)
def test_transparency_is_laid_over_white(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert tuple(colours(encoded(image))[0, 0]) == expected


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    return image


@pytest.mark.parametrize("transparency", [None, 1, bytes([255, 0, 255])])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_and_without_transparency(kind: str, transparency: int | bytes | None) -> None:
    if kind == "GIF" and isinstance(transparency, bytes):
        transparency = 1
    options = {} if transparency is None else {"transparency": transparency}
    green = (0, 200, 0) if transparency is None else WHITE
    pixels = colours(encoded(palette_image(), kind, **options))
    assert [tuple(pixel) for pixel in pixels[0]] == [(200, 0, 0), green, (0, 0, 200)]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert (colours(content) == (255, 0, 0)).all()


def test_webp() -> None:
    np.testing.assert_array_equal(colours(encoded(noise(), "WEBP", lossless=True)), np.asarray(noise()))


def test_float_image_is_refused() -> None:
    content = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(UnreadableImageError, match="it holds 32-bit floats, whose range is not known"):
        decode_image(content)


def test_integers_of_more_than_sixteen_bits_are_refused() -> None:
    content = encoded(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF")
    with pytest.raises(UnreadableImageError, match="it holds integers from 0 to 70000, more than 16 bits"):
        decode_image(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"just a text", "it is of no known image format, or its header is damaged"),
        (encoded(noise(size=(64, 64)), "JPEG")[:-500], "image file is truncated"),
        (encoded(noise(size=(64, 64)), "PNG")[:900], "truncated"),
        (encoded(noise(), "JPEG")[:20], "no known image format|Truncated|truncated"),
    ],
)
def test_damaged_files_have_a_reason(content: bytes, message: str) -> None:
    with pytest.raises(UnreadableImageError, match=message):
        decode_image(content)


def test_image_bomb_is_refused() -> None:
    content = encoded(Image.new("1", (20_000, 20_000)))
    assert len(content) < 100_000
    with pytest.raises(UnreadableImageError, match=r"DecompressionBombError: Image size .* exceeds limit"):
        decode_image(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_no_damage_raises_anything_else(kind: str) -> None:
    whole, chance = encoded(noise(size=(16, 16)), kind), random.Random(0)
    for _ in range(150):
        content = bytearray(whole[: chance.randrange(1, len(whole) + 1)])
        for _ in range(chance.randrange(4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            assert decode_image(bytes(content)).mode == "RGB"
        except UnreadableImageError as error:
            assert str(error)


@pytest.mark.parametrize("decode", [decode_image, lambda content: label_map(content, None, "exact", False)])
def test_any_error_of_a_decoder_becomes_a_reason(decode: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(UnreadableImageError, match="ZeroDivisionError: float division by zero"):
        decode(b"content")


def test_exact_size_does_not_keep_the_aspect() -> None:
    assert fit_image(noise(size=(40, 20)), (8, 16)).size == (16, 8)
    image = noise(size=(16, 8))
    assert fit_image(image, (8, 16)) is image


def test_centre_is_cut_out() -> None:
    image = Image.new("RGB", (30, 10), (255, 0, 0))
    image.paste((0, 255, 0), (10, 0, 20, 10))
    assert (np.asarray(fit_image(image, (10, 10), "center-crop")) == (0, 255, 0)).all()
    assert fit_image(image, (20, 20), "center-crop").size == (20, 20)


def test_strip_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="it has 60000 x 8 pixels, too long a strip to be scaled until"):
        fit_image(Image.new("L", (60_000, 8)), (256, 256), "center-crop")


def test_unknown_resize_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="resize mode is 'fit', expected 'exact' or 'center-crop'"):
        fit_image(noise(), (8, 8), "fit")


def test_image_smaller_than_a_patch_is_refused() -> None:
    check_not_smaller_than_patch(noise(size=(8, 8)), 8)
    with pytest.raises(UnreadableImageError, match="it has 12 x 7 pixels, less than one patch of 8 x 8"):
        check_not_smaller_than_patch(noise(size=(12, 7)), 8)


def test_pixels_have_channels_first() -> None:
    np.testing.assert_array_equal(pixels_of(noise()), np.asarray(noise()).transpose(2, 0, 1))
    assert pixels_of(noise("L")).shape == (1, 8, 12)


def stored(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def test_label_map_is_resized_to_the_nearest_pixel() -> None:
    indices = np.array([[3, 200], [0, 7]], np.uint8)
    content = label_map(encoded(Image.fromarray(indices)), (4, 4), "exact", False)
    np.testing.assert_array_equal(stored(content), indices.repeat(2, 0).repeat(2, 1))
    kept = stored(label_map(encoded(Image.fromarray(indices)), None, "exact", False))
    np.testing.assert_array_equal(kept, indices)


def test_label_map_with_a_palette_keeps_its_indices() -> None:
    content = label_map(encoded(palette_image()), None, "exact", False)
    np.testing.assert_array_equal(stored(content), [[0, 1, 2]])


@pytest.mark.parametrize(("kind", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_zero_label_becomes_ignore(kind: type, largest: int) -> None:
    indices = np.array([[0, 1, 150, largest]], kind)
    content = label_map(encoded(Image.fromarray(indices)), None, "exact", True)
    np.testing.assert_array_equal(stored(content), [[largest, 0, 149, largest]])


def test_type_of_a_label_map_does_not_depend_on_its_values() -> None:
    maps = [np.array([[0, 3]], np.uint16), np.array([[0, 300]], np.uint16)]
    contents = [label_map(encoded(Image.fromarray(indices)), None, "exact", True) for indices in maps]
    assert [stored(content).tolist() for content in contents] == [[[65535, 2]], [[65535, 299]]]


def test_label_map_of_colours_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match=r"its annotation has colours \(mode RGB\) where class indices"):
        label_map(encoded(noise()), None, "exact", False)


@pytest.mark.parametrize("size", [(12, 8), (24, 16), (3, 2), (4, 3)])
def test_label_map_may_have_another_resolution(size: tuple[int, int]) -> None:
    assert stored(label_map(encoded(noise("L", size)), (2, 2), "exact", False, (24, 16))).shape == (2, 2)


def test_label_map_of_another_shape_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="its annotation has 8 x 12 pixels, which does not fit the"):
        label_map(encoded(noise("L", (8, 12))), None, "exact", False, (12, 8))


def test_damaged_label_map_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="its annotation: the file is empty"):
        label_map(b"", None, "exact", False)


def test_orientation_reference_agrees_with_pillow() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    with Image.open(io.BytesIO(encoded(noise(), exif=exif.tobytes()))) as image:
        np.testing.assert_array_equal(
            colours(encoded(noise(), exif=exif.tobytes())), np.asarray(ImageOps.exif_transpose(image))
        )
