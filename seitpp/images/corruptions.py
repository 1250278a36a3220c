"""Gaussian noise and blur at five severities, with the parameters of ImageNet-C; needs no torch.

Parameters: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
and their code, where blur is one of the four extra corruptions. Their published files were saved as JPEG of quality 85
after the corruption, and their values cut off to integers; here nothing is compressed, and values are rounded.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from seitpp.images.decoding import UnreadableImageError, pixels_of

NOISE_STDS = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation of the noise at severities 1 to 5, of pixels in [0, 1]."""
BLUR_SIGMAS = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Standard deviation of the blur at severities 1 to 5, in pixels."""
KINDS = {"gaussian_noise": NOISE_STDS, "gaussian_blur": BLUR_SIGMAS}
"""Corruptions by name, with a parameter for each severity."""
ORDERS = ("input", "imagenet-c")

_EDGE, _CROP = 256, 224  # of ImageNet-C: the short side, and the square that is cut from the centre
_LONGEST_STRIP = 2**26  # pixels of a scaled image, as `fit_image` allows


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity: which, how strong, and of which images.

    Noise is drawn anew for each image from (`seed`, `severity`, the image's number) alone, so that it is the same for
    any batch size, order, subset, number of processes and device. It is the stream of NumPy's legacy `RandomState`,
    which NumPy keeps as it was in release 1.16, seeded with these three numbers; no two triples share a state. Images
    of another size, or grey ones, get other noise. Blur draws nothing.

    Args:
        kind: `gaussian_noise` or `gaussian_blur`.
        severity: 1 to 5, see `KINDS`.
        seed: Of the noise, in [0, 2^32).
        order: `input` corrupts what the tokenizer or network receives. `imagenet-c` corrupts what its authors did
            (short side 256, centre crop 224), which is then brought to the size that the tokenizer or network wants.
    """

    kind: str
    severity: int
    seed: int = 0
    order: str = "input"

    def __post_init__(self) -> None:
        if self.kind not in tuple(KINDS):  # a list of kinds has no hash
            raise ValueError(f"corruption kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        _check_integer("corruption severity", self.severity, 1, len(KINDS[self.kind]))
        _check_integer("corruption seed", self.seed, 0, 2**32 - 1)
        if self.order not in ORDERS:
            raise ValueError(f"corruption order is {self.order!r}, expected one of {', '.join(ORDERS)}")

    def __str__(self) -> str:
        return f"{self.kind}, severity {self.severity}, seed {self.seed}, order {self.order}"

    @property
    def strength(self) -> float:
        """Standard deviation: of the noise on [0, 1], or of the blur in pixels."""
        return KINDS[self.kind][self.severity - 1]

    def describe(self) -> dict[str, Any]:
        """Return the options, for metadata."""
        return asdict(self)

    def apply(self, pixels: np.ndarray, number: int) -> np.ndarray:
        """Corrupt an image (C, H, W), uint8, whose number in its source is `number`; uint8, rounded to the nearest."""
        return np.rint(255 * self.unrounded(pixels, number)).astype(np.uint8)

    def unrounded(self, pixels: np.ndarray, number: int) -> np.ndarray:
        """Return the corrupted image as values in [0, 1], clipped, (C, H, W), float64."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise ValueError(f"{pixels.dtype} {pixels.shape} is to be corrupted, expected uint8 (C, H, W)")
        values = pixels / 255.0
        changed = values + self._noise(values.shape, number) if self.kind == "gaussian_noise" else self._blurred(values)
        return np.clip(changed, 0, 1, out=changed)

    def apply_to_crop(self, image: Image.Image, number: int) -> Image.Image:
        """Corrupt what the order `imagenet-c` says: the centre, 224 x 224, of the image at a short side of 256.

        Scaled by Pillow's bilinear filter, as the authors' code does through torchvision.
        """
        changed = self.apply(pixels_of(_centre_of_imagenet_c(image)), number)
        return Image.fromarray(changed[0] if len(changed) == 1 else np.ascontiguousarray(changed.transpose(1, 2, 0)))

    def _noise(self, shape: tuple[int, ...], number: int) -> np.ndarray:
        # Seeding by a list keeps its words apart, and a new state holds no number over from an earlier draw: normal
        # numbers are made in pairs.
        random = np.random.RandomState([self.seed, self.severity, number])
        noise = random.standard_normal(shape)
        noise *= self.strength
        return noise

    def _blurred(self, values: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter  # not imported by those who do not blur

        # scikit-image's filter is this call. OpenCV's is within 6e-16 of it and takes 0.6 to 2.0 ms in place of 0.9 to
        # 4.3 ms (224 x 224, one core); decoding takes more, and SciPy has no code that differs by CPU. In float32 both
        # would be within 3e-7, but round some pixels otherwise, at no gain for SciPy.
        return gaussian_filter(values, (0, self.strength, self.strength), mode="nearest", truncate=4)


def cut_border(image: Image.Image, border: int) -> Image.Image:
    """Cut `border` pixels from every side of an image."""
    if not border:
        return image
    width, height = image.size
    if min(width, height) <= 2 * border:
        raise UnreadableImageError(f"it has {width} x {height} pixels, of which a border of {border} leaves nothing")
    return image.crop((border, border, width - border, height - border))


def _centre_of_imagenet_c(image: Image.Image) -> Image.Image:
    width, height = (_EDGE * side // min(image.size) for side in image.size)
    if width * height > _LONGEST_STRIP:
        raise UnreadableImageError(
            f"it has {image.width} x {image.height} pixels, too long a strip for a short side of {_EDGE}"
        )
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - _CROP) / 2), round((height - _CROP) / 2)
    return image.crop((left, top, left + _CROP, top + _CROP))


def _check_integer(what: str, value: Any, smallest: int, largest: int) -> None:
    if type(value) is not int or not smallest <= value <= largest:  # True is no severity
        raise ValueError(f"{what} is {value!r}, expected a whole number from {smallest} to {largest}")
