"""Pictures of what a tokenizer does, for people who would rather look than read."""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

_MIN_PIXELS = 96  # smaller images are shown enlarged, pixel by pixel


def reconstruction_grid(images: Tensor, decoded: Tensor) -> Image.Image:
    """Originals in a row above their reconstructions.

    Args:
        images: (B, C, H, W), uint8, C of 1 or 3.
        decoded: What came back, of the same shape and type.
    """
    zoom = max(1, _MIN_PIXELS // images.shape[-1])
    tiles = torch.cat([images, decoded]).repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    return to_pil_image(make_grid(tiles, nrow=len(images), padding=4, pad_value=255))
