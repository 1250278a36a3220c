"""What every tokenizer offers: images to codes, codes to images, and the facts a store records about it."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tokenizer(nn.Module, ABC):
    """Images (B, C, H, W) with values in `pixel_range`, to codes (B, H / stride, W / stride), and back.

    Attributes:
        codebook: The K vectors that codes index, (K, D), float32, a buffer.
        stride: Pixels that a code is high and wide.
        image_size: Height and width that `resize` brings images to.
        pixel_range: Smallest and largest pixel value that `encode` expects and `decode` aims at.
        spatial: Whether codes lie on a grid that covers the image; geometric augmentation needs one.
    """

    codebook: Tensor
    stride: int
    image_size: tuple[int, int]
    pixel_range: tuple[float, float] = (0.0, 1.0)
    spatial: bool = True

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return len(self.codebook)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes of an image of `image_size`."""
        return self.image_size[0] // self.stride, self.image_size[1] // self.stride

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to codes (B, H / stride, W / stride), int64."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to images (B, C, h * stride, w * stride)."""

    @abstractmethod
    def describe(self) -> dict:
        """Plain facts for a store's header: `type`, options that rebuild it beside its codebook, `preprocessing`."""

    def describe_preprocessing(self) -> dict:
        """How `tokenize` prepares images, for `describe`."""
        return {
            "pixel_range": list(self.pixel_range),
            "resize": f"bicubic with antialiasing to {self.image_size[0]} x {self.image_size[1]}, aspect not kept",
        }

    def resize(self, images: Tensor) -> Tensor:
        """Bring images (B, C, H, W) to `image_size`, bicubic, without keeping the aspect, kept in `pixel_range`."""
        if tuple(images.shape[-2:]) == tuple(self.image_size):
            return images
        resized = F.interpolate(images, size=self.image_size, mode="bicubic", align_corners=False, antialias=True)
        return resized.clamp(*self.pixel_range)

    @torch.no_grad()
    def tokenize(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """Resize and encode any number of images, a batch at a time."""
        return torch.cat([self.encode(self.resize(batch)) for batch in images.split(batch_size)])
