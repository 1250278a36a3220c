"""What every tokenizer offers: images to codes, codes to images, and the description that a store records."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seitpp.images.resizing import DESCRIPTIONS, ResizeRule, check_resize_rule, cover_size

ResizeMode = Literal["exact", "center-crop"]

_MODES = {
    "exact": "to {0} x {1}, aspect not kept",
    "center-crop": "until {0} x {1} is covered, aspect kept, then the centre",
}


class Tokenizer(nn.Module, ABC):
    """Images (B, C, H, W) with values in `pixel_range`, to codes (B, H / stride, W / stride), and back.

    A tokenizer without a codebook has several integers per position, its `channels`; tokens are then
    (B, H / stride, W / stride, channels) and may be negative.

    Attributes:
        codebook: The K vectors that codes index, (K, D), float32, or None.
        channels: Integers per position, or None for one code.
        minimum: Smallest token; tokens lie in [minimum, minimum + codebook_size).
        stride: Height and width of a code in pixels.
        in_channels: Colour channels C, 3 (RGB) or 1 (grey).
        image_size: Height and width that images are resized to.
        resize_mode: `exact`: to that size whatever the aspect; `center-crop`: until it is covered, then the centre.
        resize_rule: Filters, see `seitpp.images.resizing`; constructors call it `resize`.
        pixel_range: Smallest and largest pixel value that `encode` expects and `decode` aims at.
        spatial: Whether codes lie on a grid that covers the image; geometric augmentation needs one.
        can_decode: Whether `decode` works; networks loaded without their decoder cannot.
    """

    codebook: Tensor | None
    channels: int | None = None
    minimum: int = 0
    stride: int
    in_channels: int = 3
    image_size: tuple[int, int]
    resize_mode: ResizeMode = "exact"
    resize_rule: ResizeRule = "bicubic"
    pixel_range: tuple[float, float] = (0.0, 1.0)
    spatial: bool = True
    can_decode: bool = True

    @property
    def codebook_size(self) -> int:
        """Number of codes K, or of values that a token may take."""
        assert self.codebook is not None  # a tokenizer without one overrides this
        return len(self.codebook)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes of an image of `image_size`."""
        return self.image_size[0] // self.stride, self.image_size[1] // self.stride

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one image's tokens: the grid, and the channels if there are any."""
        return self.grid if self.channels is None else (*self.grid, self.channels)

    @property
    def advice(self) -> str | None:
        """What would make reconstructions better, where that is known of these options."""
        return None

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to codes (B, H / stride, W / stride), int64."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to images (B, C, h * stride, w * stride), not clamped to `pixel_range`."""

    def decode_known(self, codes: Tensor) -> Tensor:
        """`decode` without checking the values, which would wait for a GPU."""
        return self.decode(codes)

    @abstractmethod
    def describe(self) -> dict:
        """Describe it in plain values for a store's header: `type`, options that rebuild it, `preprocessing`."""

    def describe_preprocessing(self) -> dict:
        """Describe how images are prepared, for `describe`."""
        return {
            "pixel_range": list(self.pixel_range),
            "resize": f"{DESCRIPTIONS[self.resize_rule]} {_MODES[self.resize_mode].format(*self.image_size)}",
        }

    def set_resizing(self, resize: ResizeRule, resize_mode: ResizeMode) -> None:
        """Check and set a constructor's options of resizing."""
        if resize_mode not in _MODES:
            raise ValueError(f"resize_mode must be 'exact' or 'center-crop', got {resize_mode!r}")
        check_resize_rule(resize)
        self.resize_mode, self.resize_rule = resize_mode, resize

    def describe_resizing(self) -> dict:
        """Describe the options of resizing, for `describe`; without the default rule, as stores always did."""
        rule = {} if self.resize_rule == "bicubic" else {"resize": self.resize_rule}
        return {"resize_mode": self.resize_mode, **rule}

    def check_images(self, images: Tensor) -> None:
        """Raise `ValueError` unless type, number of channels and size of the images fit `encode`."""
        sides = images.shape[-2:]
        if images.ndim != 4 or images.shape[1] != self.in_channels or any(s % self.stride or not s for s in sides):
            raise ValueError(
                f"images {tuple(images.shape)} do not fit: expected (B, {self.in_channels}, H, W) with sides that are "
                f"multiples of {self.stride}"
            )
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}; expected floats in {self.pixel_range}, such as bytes / 255")

    def from_bytes(self, pixels: Tensor) -> Tensor:
        """Scale pixels (B, C, H, W), uint8 in [0, 255], to floats in `pixel_range`."""
        low, high = self.pixel_range
        return pixels.float().mul_((high - low) / 255).add_(low)

    def to_bytes(self, images: Tensor) -> Tensor:
        """Invert `from_bytes`: round and clamp to [0, 255], uint8."""
        low, high = self.pixel_range
        return images.float().sub(low).mul_(255 / (high - low)).round_().clamp_(0, 255).to(torch.uint8)

    def resize(self, images: Tensor) -> Tensor:
        """Resize images (B, C, H, W) to `image_size` by `resize_mode` and `resize_rule`, kept in `pixel_range`.

        Files are resized as 8-bit images by `seitpp.images.resizing.fit_image`, which follows the same rule and rounds.
        """
        height, width = self.image_size
        if tuple(images.shape[-2:]) == (height, width):
            return images
        while self.resize_rule == "llamagen" and images.shape[-2] >= 2 * height and images.shape[-1] >= 2 * width:
            rows, columns = (_box_weights(side, side // 2).to(images) for side in images.shape[-2:])
            images = rows @ images @ columns.T
        size = (height, width)
        if self.resize_mode == "center-crop":
            size = cover_size(images.shape[-2:], self.image_size)
        bilinear = self.resize_rule in ("taming", "enhancing-transformers")
        resized = F.interpolate(
            images,
            size=size,
            mode="bilinear" if bilinear else "bicubic",
            align_corners=False,
            antialias=self.resize_rule != "taming",
        )
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return resized[..., top : top + height, left : left + width].clamp(*self.pixel_range)

    @torch.no_grad()
    def tokenize(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """Resize and encode any number of images, a batch at a time."""
        return torch.cat([self.encode(self.resize(batch)) for batch in images.split(batch_size)])


def as_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Return one number or two as (height, width)."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _box_weights(size: int, halved: int) -> Tensor:
    """Return the weights (halved, size) of Pillow's box filter along one side."""
    centres = (torch.arange(halved, dtype=torch.float64) + 0.5) * size / halved
    offsets = (torch.arange(size, dtype=torch.float64) + 0.5 - centres[:, None]) * halved / size
    weights = ((offsets > -0.5) & (offsets <= 0.5)).float()
    return weights / weights.sum(dim=1, keepdim=True)
