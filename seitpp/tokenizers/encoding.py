"""Pixels to tokens in pieces of one size: as large as a GPU likes them, as small as a CPU's cache does."""

import torch
from torch import Tensor

from seitpp.tokenizers.base import Tokenizer

# Two images' activations stay in a CPU's cache; pieces of 8 and more were slower for each tokenizer that was timed.
_CPU_IMAGES = 2


@torch.inference_mode()
def encode_pixels(tokenizer: Tokenizer, pixels: Tensor, device: str, batch_size: int) -> Tensor:
    """Tokens of images.

    Matrix products may round otherwise for other numbers of rows, so every piece is filled up with zeros to the same
    size: an image's tokens do not depend on how many others come with it.

    Args:
        tokenizer: On `device`.
        pixels: (B, C, H, W), uint8, on any device, B at least 1.
        device: Where to encode.
        batch_size: Images of a piece, except on a CPU.

    Returns:
        (B, h, w) or (B, h, w, channels), int32, on the device.
    """
    size = _CPU_IMAGES if torch.device(device).type == "cpu" else batch_size
    tokens = []
    for piece in pixels.split(size):
        if len(piece) < size:
            piece = torch.cat([piece, piece.new_zeros(size - len(piece), *piece.shape[1:])])
        images = tokenizer.from_bytes(piece.to(device, non_blocking=True))
        tokens.append(tokenizer.encode(images).int())
    return torch.cat(tokens)[: len(pixels)]
