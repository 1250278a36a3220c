"""Noise has the tabled deviation and depends on its three numbers alone; blur is SciPy's filter; both round."""

import itertools
import math

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from seitpp.images.corruptions import BLUR_SIGMAS, KINDS, NOISE_STDS, Corruption, cut_border
from seitpp.images.decoding import UnreadableImageError, pixels_of

SEVERITIES = range(1, 6)


def noise(severity: int = 1, seed: int = 0) -> Corruption:
    return Corruption("gaussian_noise", severity, seed)


def random_pixels(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def share_below(value: float) -> float:
    """Share of standard normal numbers below a value."""
    return (1 + math.erf(value / math.sqrt(2))) / 2


@pytest.mark.parametrize(("severity", "std"), list(enumerate((0.08, 0.12, 0.18, 0.26, 0.38), start=1)))
def test_noise_has_the_tabled_deviation(severity: int, std: float) -> None:
    """On mid-grey, within five standard errors; what leaves [0, 1] lies on its ends, as often as it should."""
    grey, count = np.full((3, 96, 96), 128, np.uint8), 3 * 96 * 96
    values = noise(severity).unrounded(grey, 0)
    inside = (values > 0) & (values < 1)
    # The quartiles know nothing of clipping, which changes the plain deviation from severity 4 on.
    spread = np.subtract(*np.quantile(values, [0.75, 0.25])) / (2 * 0.6744898)
    assert abs(spread - std) < 5 * std * 1.17 / math.sqrt(count)
    assert abs(np.median(values) - 128 / 255) < 5 * std * 1.26 / math.sqrt(count)
    clipped = share_below(-(128 / 255) / std) + share_below(-(127 / 255) / std)
    assert abs((~inside).mean() - clipped) < 5 * math.sqrt(clipped * (1 - clipped) / count) + 1e-9
    assert values.min() >= 0 and values.max() <= 1 and set(values[~inside]) <= {0, 1}
    assert all(abs(channel.std() - values.std()) < 0.02 * std for channel in values)
    assert abs(np.corrcoef(values[0].ravel(), values[1].ravel())[0, 1]) < 5 / 96  # channels have their own


def test_noise_is_the_stream_that_numpy_froze() -> None:
    """Recorded with NumPy 2.4.6, whose `RandomState` draws as that of 1.16 does."""
    mid = np.full((1, 1, 4), 128, np.uint8)
    drawn = (noise().unrounded(mid, 0) - 128 / 255) / 0.08
    np.testing.assert_allclose(drawn[0, 0], [0.100949632788, -1.35562775668, -1.11932034076, 0.264720381031], rtol=1e-9)
    drawn = (noise(5, 2**32 - 1).unrounded(mid, 7) - 128 / 255) / 0.38
    np.testing.assert_allclose(drawn[0, 0, :2], [0.134960271876, 0.461981463016], rtol=1e-9)


def test_every_number_of_the_seed_counts() -> None:
    """Triples that would be alike if their numbers were added, multiplied or written beside each other."""
    grey = np.full((1, 4, 4), 128, np.uint8)
    triples = [*itertools.product((0, 1, 2, 11, 2**31), SEVERITIES, (0, 1, 2, 11, 21, 2**31))]
    drawn = [(noise(severity, seed).unrounded(grey, number) - 128 / 255) for seed, severity, number in triples]
    standard = [values / NOISE_STDS[severity - 1] for values, (_, severity, _) in zip(drawn, triples, strict=True)]
    assert len({tuple(np.round(values.ravel(), 9)) for values in standard}) == len(triples)


def test_noise_does_not_depend_on_what_was_drawn_before() -> None:
    pixels = random_pixels((3, 5, 7))
    expected = noise(3).apply(pixels, 4)
    np.random.seed(1)
    for before in (0, 1, 5):  # an odd count of numbers leaves one of a pair over
        noise(3).apply(pixels[:, :3], before)
        np.random.standard_normal(before)
        np.testing.assert_array_equal(noise(3).apply(pixels, 4), expected)
    state = np.random.get_state()[1].copy()
    noise(3).apply(pixels, 4)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # nor does anyone else's draw depend on it


@pytest.mark.parametrize("shape", [(3, 37, 53), (1, 9, 31), (3, 1, 5)])
@pytest.mark.parametrize(("severity", "sigma"), list(enumerate((1, 2, 3, 4, 6), start=1)))
def test_blur_is_the_reference_filter(severity: int, sigma: float, shape: tuple[int, ...]) -> None:
    """Against a plain sum over the kernel with the edge repeated, and SciPy's filter along one axis after the other."""
    pixels = random_pixels(shape)
    blurred = Corruption("gaussian_blur", severity).unrounded(pixels, 3)
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    for channel, found in zip(pixels / 255, blurred, strict=True):
        plain = channel
        for axis in (0, 1):
            width = [(radius, radius) if one == axis else (0, 0) for one in (0, 1)]
            padded = np.pad(plain, width, mode="edge")
            plain = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
            channel = gaussian_filter1d(channel, sigma, axis, mode="nearest", truncate=4)
        np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found, channel, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_eight_bits_are_the_nearest(kind: str) -> None:
    pixels = random_pixels((3, 12, 14))
    corruption = Corruption(kind, 2)
    rounded, values = corruption.apply(pixels, 5), corruption.unrounded(pixels, 5)
    assert rounded.dtype == np.uint8 and rounded.shape == pixels.shape and values.dtype == np.float64
    assert np.abs(rounded - 255 * values).max() <= 0.5
    assert (rounded > 255 * values).mean() == pytest.approx(0.5, abs=0.1)  # not cut off
    np.testing.assert_array_equal(pixels, random_pixels((3, 12, 14)))  # left as they were


def test_parameters_by_name() -> None:
    strengths = {kind: [Corruption(kind, severity).strength for severity in SEVERITIES] for kind in KINDS}
    assert strengths == {"gaussian_noise": list(NOISE_STDS), "gaussian_blur": list(BLUR_SIGMAS)}
    corruption = Corruption("gaussian_noise", 3, 7, "imagenet-c")
    assert corruption.describe() == {"kind": "gaussian_noise", "severity": 3, "seed": 7, "order": "imagenet-c"}
    assert Corruption(**corruption.describe()) == corruption
    assert str(corruption) == "gaussian_noise, severity 3, seed 7, order imagenet-c"


@pytest.mark.parametrize("size", [(473, 300), (500, 301), (256, 256), (40, 30), (300, 473)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_order_of_imagenet_c(size: tuple[int, int], mode: str) -> None:
    """As torchvision's `Resize(256)` and `CenterCrop(224)` cut it, then corrupted; sizes are width and height."""
    from torchvision.transforms import CenterCrop, Resize

    image = Image.fromarray(random_pixels((size[1], size[0], 3))).convert(mode)
    corruption = Corruption("gaussian_noise", 2, order="imagenet-c")
    expected = corruption.apply(pixels_of(CenterCrop(224)(Resize(256)(image))), 9)
    found = corruption.apply_to_crop(image, 9)
    assert found.mode == mode and found.size == (224, 224)
    np.testing.assert_array_equal(pixels_of(found), expected)


def test_strip_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(
        UnreadableImageError, match=r"it has 100000 x 2 pixels, too long a strip for a short side of 256"
    ):
        Corruption("gaussian_blur", 1, order="imagenet-c").apply_to_crop(Image.new("L", (100_000, 2)), 0)


def test_border_is_cut_on_every_side() -> None:
    pixels = random_pixels((9, 12, 3))
    cut = cut_border(Image.fromarray(pixels), 2)
    np.testing.assert_array_equal(np.asarray(cut), pixels[2:-2, 2:-2])
    with pytest.raises(UnreadableImageError, match="it has 12 x 4 pixels, of which a border of 2 leaves nothing"):
        cut_border(Image.new("RGB", (12, 4)), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("blur", 1), "corruption kind is 'blur', expected one of gaussian_noise, gaussian_blur"),
        (("gaussian_noise", 0), "corruption severity is 0, expected a whole number from 1 to 5"),
        (("gaussian_blur", 6), "corruption severity is 6, expected"),
        (("gaussian_blur", 1.0), "corruption severity is 1.0, expected"),
        (("gaussian_blur", True), "corruption severity is True, expected"),
        (("gaussian_blur", "3"), "corruption severity is '3', expected"),
        (("gaussian_noise", 1, -1), "corruption seed is -1, expected a whole number from 0 to 4294967295"),
        (("gaussian_noise", 1, 2**32), "corruption seed is 4294967296, expected"),
        (("gaussian_noise", 1, None), "corruption seed is None, expected"),
        (("gaussian_noise", 1, 0, "after"), "corruption order is 'after', expected one of input, imagenet-c"),
    ],
)
def test_what_there_is_not(options: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Corruption(*options)


@pytest.mark.parametrize("pixels", [np.zeros((3, 4, 4), np.float32), np.zeros((4, 4), np.uint8)])
def test_only_eight_bits_by_channel_are_corrupted(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"is to be corrupted, expected uint8 \(C, H, W\)"):
        noise().apply(pixels, 0)
