"""Each project's resizing against the plain computation that its code does, equal to the last bit."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from seitpp.images.resizing import fit_image
from seitpp.storage.tokenizer_entry import tokenizer_options
from seitpp.tokenizers import BlockDCT
from seitpp.tokenizers.identity import identity_difference, settings_identity

SIZE = 96


@pytest.fixture(scope="module", params=[(427, 640), (640, 331), (97, 101), (60, 80)], ids=str)
def photo(request: pytest.FixtureRequest) -> Image.Image:
    """A photograph of the given height and width, cut out of a larger one."""
    height, width = request.param
    pixels = np.tile(load_sample_image("flower.jpg"), (2, 1, 1))
    return Image.fromarray(np.ascontiguousarray(pixels[:height, :width]))


def cut(pixels: np.ndarray) -> np.ndarray:
    """The centre of SIZE x SIZE pixels."""
    top, left = (pixels.shape[0] - SIZE) // 2, (pixels.shape[1] - SIZE) // 2
    return pixels[top : top + SIZE, left : left + SIZE]


def taming(image: Image.Image) -> np.ndarray:
    """The short side by OpenCV, then the centre (albumentations' SmallestMaxSize and CenterCrop)."""
    pixels = np.array(image).astype(np.uint8)
    scale = SIZE / min(pixels.shape[:2])
    height, width = (round(side * scale) for side in pixels.shape[:2])
    return cut(cv2.resize(pixels, dsize=(width, height), interpolation=cv2.INTER_LINEAR))


def enhancing(image: Image.Image) -> np.ndarray:
    """Straight to the size, by Pillow (torchvision's Resize of an image)."""
    return np.array(image.resize((SIZE, SIZE), Image.BILINEAR))


def llamagen(image: Image.Image) -> np.ndarray:
    """ADM's crop: halve by boxes, then bicubic, then the centre."""
    while min(*image.size) >= 2 * SIZE:
        image = image.resize(tuple(side // 2 for side in image.size), resample=Image.BOX)
    scale = SIZE / min(*image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), resample=Image.BICUBIC)
    return cut(np.array(image))


@pytest.mark.parametrize(
    ("rule", "mode", "reference"),
    [
        ("taming", "center-crop", taming),
        ("enhancing-transformers", "exact", enhancing),
        ("llamagen", "center-crop", llamagen),
    ],
)
def test_pixels_are_those_of_the_project(photo: Image.Image, rule: str, mode: str, reference: object) -> None:
    found = np.asarray(fit_image(photo, (SIZE, SIZE), mode, rule=rule))
    np.testing.assert_array_equal(found, reference(photo))
    if max(photo.size) > 2 * SIZE:
        assert (found != np.asarray(fit_image(photo, (SIZE, SIZE), mode))).any()


def test_default_is_what_it_was(photo: Image.Image) -> None:
    found = fit_image(photo, (SIZE, SIZE), "exact")
    np.testing.assert_array_equal(found, photo.resize((SIZE, SIZE), Image.BICUBIC))


@pytest.mark.parametrize("rule", ["taming", "enhancing-transformers", "llamagen"])
@pytest.mark.parametrize("mode", ["exact", "center-crop"])
def test_grey_images_and_label_maps(photo: Image.Image, rule: str, mode: str) -> None:
    grey = photo.convert("L")
    assert fit_image(grey, (40, 56), mode, rule=rule).size == (56, 40)
    labels = Image.fromarray((np.asarray(grey) > 99).astype(np.uint8))
    mapped = fit_image(labels, (40, 56), mode, Image.Resampling.NEAREST, rule)
    np.testing.assert_array_equal(mapped, fit_image(labels, (40, 56), mode, Image.Resampling.NEAREST))


@pytest.mark.parametrize("rule", ["bicubic", "taming", "enhancing-transformers", "llamagen"])
@pytest.mark.parametrize("mode", ["exact", "center-crop"])
def test_tensors_are_resized_alike(rule: str, mode: str) -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    tokenizer = BlockDCT(SIZE, resize=rule, resize_mode=mode)
    images = tokenizer.from_bytes(torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None])
    found = tokenizer.to_bytes(tokenizer.resize(images))[0].permute(1, 2, 0).numpy().astype(int)
    expected = np.asarray(fit_image(photo, (SIZE, SIZE), mode, rule=rule)).astype(int)
    assert np.abs(found - expected).mean() < 1
    assert np.percentile(np.abs(found - expected), 99) <= 3  # files are rounded to 8 bits between the steps


# What stores record


def facts_of(**options: str) -> dict:
    return BlockDCT(64, **options).describe()


def test_store_records_the_rule_and_says_nothing_new_of_the_old_one() -> None:
    before = facts_of()
    assert "resize" not in before
    assert before["preprocessing"]["resize"] == "bicubic with antialiasing to 64 x 64, aspect not kept"
    facts = facts_of(resize="taming", resize_mode="center-crop")
    assert facts["resize"] == "taming"
    assert facts["preprocessing"]["resize"] == (
        "bilinear without antialiasing (OpenCV), as taming-transformers, until 64 x 64 is covered, aspect kept, then "
        "the centre"
    )
    options = tokenizer_options(facts)
    assert options.pop("type") == "seitpp.BlockDCT"
    assert BlockDCT(**options).describe() == facts


def test_tokens_of_other_resizing_are_another_tokenizers() -> None:
    old = {key: value for key, value in settings_identity(facts_of()).items() if key != "resize_mode"}
    bicubic, taming = (settings_identity(facts_of(resize=rule)) for rule in ("bicubic", "taming"))
    assert identity_difference(old, bicubic) is None and identity_difference(bicubic, old) is None
    assert identity_difference(old, taming) == "resize bicubic and taming"
    assert identity_difference(taming, bicubic) == "resize taming and bicubic"
    crop = settings_identity(facts_of(resize_mode="center-crop"))
    assert identity_difference(bicubic, crop) == "resize_mode exact and center-crop"
    assert identity_difference(None, taming) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"resize": "bilinear"},
            "resize is 'bilinear', expected one of bicubic, taming, enhancing-transformers, ",
        ),
        ({"resize_mode": "crop"}, "resize_mode must be 'exact' or 'center-crop', got 'crop'"),
    ],
)
def test_unknown_resizing_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockDCT(64, **options)
