"""Opening image files: formats, the cap on pixels, checksums, orientation."""

import io
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.apis.inputs import ImageInputs
from seitpp.images.decoding import (
    FORMATS,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    UnreadableImageError,
    decode_image,
    decoded_image,
)
from seitpp.images.label_maps import label_map_png, read_label_map
from seitpp.ingest import open_image_source

ORIENTATION, GPS, RESOLUTION = 0x0112, 0x8825, 0x011A
POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(/tmp/marker) (w) file closefile
showpage
%%EOF
"""


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG file with one more chunk behind its header."""
    return png[:33] + chunk(kind, data) + png[33:]


# Formats


@pytest.mark.parametrize(
    "content",
    [
        POSTSCRIPT,
        struct.pack("<4sIII", b"\xc5\xd0\xd3\xc6", 32, len(POSTSCRIPT), 0).ljust(32, b"\0") + POSTSCRIPT,
        b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(34),
        b"\x89HDF\r\n\x1a\n" + bytes(64),
        b"%PDF-1.4\n",
        encoded(gradient((16, 16)), "ICO"),
    ],
    ids=["eps", "eps-with-preview", "wmf", "hdf5", "pdf", "ico"],
)
def test_formats_that_run_programs_or_open_others_are_not_opened(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    def started(*_: object, **__: object) -> None:
        pytest.fail("a program was started")

    for name in ("Popen", "check_call", "call", "run", "check_output"):
        monkeypatch.setattr(subprocess, name, started)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for read in (decode_image, lambda content: label_map_png(content, None, "exact", False)):
        with pytest.raises(UnreadableImageError, match="it is of no known image format, or its"):
            read(content)
    with pytest.raises(UnreadableImageError, match="it is of no known image format"):
        open_image_source(tmp_path).load(0, 3)
    with pytest.raises(ValueError, match=r"photo\.jpg cannot be read: it is of no known image format"):
        ImageInputs([path], None).picture(0)
    with pytest.raises(ValueError, match=r"photo\.jpg cannot be read \(it is of no known image format"):
        read_label_map(path, path.read_bytes())


def test_formats_are_those_of_plain_pictures() -> None:
    assert {"JPEG", "PNG", "TIFF", "WEBP", "TGA"} <= set(FORMATS)
    assert not {"EPS", "WMF", "IPTC", "FPX", "MIC", "HDF5", "ICO", "ICNS"} & set(FORMATS)
    assert {".jpe", ".tga", ".jp2", ".pbm"} <= set(IMAGE_SUFFIXES)
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".fpx", ".mic"} & set(IMAGE_SUFFIXES)


@pytest.mark.parametrize("kind", [name for name in FORMATS if name in Image.SAVE])
def test_every_format_is_read(kind: str) -> None:
    pixels = np.asarray(decode_image(encoded(gradient(), kind)))
    assert pixels.shape == (8, 12, 3)
    if kind not in ("JPEG", "WEBP", "AVIF", "GIF"):
        np.testing.assert_array_equal(pixels, np.asarray(gradient()))


# Size


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    content = encoded(Image.new("1", (13_000, 13_000)))
    assert len(content) < 40_000 and MAX_PIXELS < 13_000**2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    expected = r"it has 13000 x 13000 pixels, more than the 89,478,485 allowed; raise max_pixels \(--max-pixels\)"
    with pytest.raises(UnreadableImageError, match=expected):
        decode_image(content)
    with pytest.raises(UnreadableImageError, match=f"its annotation: {expected}"):
        label_map_png(content, None, "exact", False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; decoded it has 169,000


def test_cap_can_be_moved_both_ways(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png")
    with pytest.raises(UnreadableImageError, match="it has 12 x 8 pixels, more than the 95 allowed"):
        open_image_source(tmp_path, max_pixels=95).load(0, 3)
    assert open_image_source(tmp_path, max_pixels=96).load(0, 3)[0].size == (12, 8)
    with pytest.raises(ValueError, match="max_pixels is 0, expected a positive number of pixels"):
        open_image_source(tmp_path, max_pixels=0)


def test_cap_above_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # of which Pillow refuses the double
    with pytest.raises(UnreadableImageError, match="it has far too many pixels, more than the 50 allowed"):
        decode_image(encoded(gradient()), max_pixels=50)
    assert decode_image(encoded(gradient()), max_pixels=100).size == (12, 8)
    assert Image.MAX_IMAGE_PIXELS == 40


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_picture_of_many_is_decoded_alone(kind: str) -> None:
    frames = [Image.new("RGB", (64, 64), (200, 0, 0)), *(Image.new("RGB", (64, 64), (0, n, 200)) for n in range(50))]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_image(content, max_pixels=64 * 64).getpixel((5, 5)) == (200, 0, 0)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_metadata_that_unpack_to_megabytes_are_refused(kind: bytes) -> None:
    packed = zlib.compress(bytes(50_000_000), 9)
    data = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind] + packed
    content = with_chunk(encoded(gradient()), kind, data)
    assert len(content) < 60_000
    with pytest.raises(UnreadableImageError, match="its metadata unpack to more than a megabyte"):
        decode_image(content)


# Checksums


@pytest.mark.parametrize("compress_level", [0, 6])
def test_no_flipped_bit_of_a_png_passes(compress_level: int, tmp_path: Path) -> None:
    labels = Image.fromarray((np.arange(48) % 5).astype(np.uint8).reshape(6, 8))
    content = encoded(labels, compress_level=compress_level)
    path = tmp_path / "map.png"
    for place in range(len(content) - 12):  # the last chunk holds nothing
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(UnreadableImageError, match="its annotation: "):
            label_map_png(bytes(damaged), None, "exact", False)
        with pytest.raises(UnreadableImageError, match=r"\w"):
            decode_image(bytes(damaged))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"map\.png cannot be read"):
            read_label_map(path, path.read_bytes())


# Orientation


def oriented(kind: str, image: Image.Image, orientation: int, damage: str = "none") -> bytes:
    """An image file with an orientation, and perhaps with an entry that Pillow cannot write again."""
    entries = [struct.pack("<HHIHH", ORIENTATION, 3, 1, orientation, 0)]
    if damage == "resolution":  # text where a fraction belongs
        entries.append(struct.pack("<HHI4s", RESOLUTION, 2, 4, b"abc"))
    if damage == "gps":  # an offset where nothing lies
        entries.append(struct.pack("<HHII", GPS, 4, 1, 10**9))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return encoded(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("damage", ["none", "gps", "resolution"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_orientation_is_read_whatever_else_the_exif_holds(kind: str, damage: str) -> None:
    flat = Image.new("RGB", (16, 8), (250, 0, 0))
    flat.paste((0, 0, 250), (8, 0, 16, 8))
    upright = decode_image(oriented(kind, flat, 6, damage))  # to be turned clockwise: left goes up
    assert upright.size == (8, 16)
    assert upright.getpixel((4, 2))[0] > 200 and upright.getpixel((4, 13))[2] > 200


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_is_none_leaves_the_image_as_it_is(orientation: int) -> None:
    np.testing.assert_array_equal(decode_image(oriented("PNG", gradient(), orientation, "none")), gradient())


def test_exif_that_is_no_exif_leaves_the_image_as_it_is() -> None:
    content = with_chunk(encoded(gradient()), b"eXIf", b"no exif at all")
    np.testing.assert_array_equal(decode_image(content), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiff_files(orientation: int) -> None:
    turned = [None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's methods
    content = encoded(gradient(), "TIFF", tiffinfo={ORIENTATION: orientation})
    method = turned[orientation - 1]
    expected = gradient() if method is None else gradient().transpose(method)
    np.testing.assert_array_equal(decode_image(content), expected)


def test_errors_in_the_block_become_reasons() -> None:
    with pytest.raises(UnreadableImageError, match="KeyError: 'mode'"), decoded_image(encoded(gradient())):
        raise KeyError("mode")
