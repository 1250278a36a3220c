"""The mean colour of each patch, rounded to equally spaced bins: the smallest tokenizer that shows all parts of one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.registry import TOKENIZERS
from seitpp.tokenizers import Tokenizer


@TOKENIZERS.register_module()
class ColourBins(Tokenizer):
    """RGB images to one code per patch, levels**3 of them: code = (red * levels + green) * levels + blue.

    Args:
        image_size: Height and width that images are resized to.
        patch_size: Height and width of a patch in pixels.
        levels: Bins per colour channel, from 2 on.
        codebook: What a store of this tokenizer brings, (levels**3, 3); made of `levels` if None.
    """

    distance = "euclidean"  # between vectors of the codebook, where a network's output is turned into codes

    def __init__(self, image_size: int, patch_size: int = 8, levels: int = 8, codebook: Tensor | None = None) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if levels < 2:
            raise ValueError(f"levels is {levels}, expected at least 2")
        self.image_size, self.stride, self.levels = (image_size, image_size), patch_size, levels
        if codebook is None:
            bins = torch.arange(levels) / (levels - 1)
            codebook = torch.cartesian_prod(bins, bins, bins)
        self.register_buffer("codebook", torch.as_tensor(codebook, dtype=torch.float32))

    def encode(self, images: Tensor) -> Tensor:
        """Round the mean colours: images (B, 3, H, W) in [0, 1] to codes (B, H / stride, W / stride), int64."""
        self.check_images(images)
        means = F.avg_pool2d(images, self.stride)
        red, green, blue = (means * (self.levels - 1)).round().long().clamp(0, self.levels - 1).unbind(dim=1)
        return (red * self.levels + green) * self.levels + blue

    def decode(self, codes: Tensor) -> Tensor:
        """Paint the patches: codes (B, h, w) to images (B, 3, h * stride, w * stride)."""
        colours = F.embedding(codes, self.codebook).permute(0, 3, 1, 2)
        return colours.repeat_interleave(self.stride, dim=-2).repeat_interleave(self.stride, dim=-1)

    def describe(self) -> dict:
        """Describe it for a store's header, from which `tokenizer_from_store` builds it again."""
        return {
            "type": "ColourBins",
            "image_size": self.image_size[0],
            "patch_size": self.stride,
            "levels": self.levels,
            "preprocessing": self.describe_preprocessing(),
        }
