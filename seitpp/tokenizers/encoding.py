"""Pixels to tokens and back, a part of the batch at a time: as small as a CPU's caches, as large as a GPU's memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.codebook import NEAREST_CODES

# Two images' activations stay in a CPU's cache; 8 and more at a time were slower for each tokenizer that was timed.
_CPU_IMAGES = 2
# Pixels at a time: an image of 256 x 256 per thread of a CPU, 64 of them elsewhere.
_CPU_PIXELS, _DEVICE_PIXELS = 1 << 16, 1 << 22


@torch.inference_mode()
def encode_pixels(tokenizer: Tokenizer, pixels: Tensor, device: str, batch_size: int) -> Tensor:
    """Encode images so that their tokens do not depend on how many others come with them.

    Matrix products may round otherwise for other numbers of rows, so every part is filled up with zeros to one size:
    `batch_size`, or on a CPU two. Pixels (B, C, H, W), uint8, on any device, become tokens (B, h, w) [, channels],
    int32, on `device`, where the tokenizer is; B is at least 1.
    """
    size = _CPU_IMAGES if torch.device(device).type == "cpu" else batch_size
    tokens = []
    for part in pixels.split(size):
        if len(part) < size:
            part = torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
        images = tokenizer.from_bytes(part.to(device, non_blocking=True))
        tokens.append(tokenizer.encode(images).int())
    return torch.cat(tokens)[: len(pixels)]


def decoded_pixels(tokenizer: Tokenizer, tokens: Tensor) -> Tensor:
    """Decode tokens (B, h, w) [, channels] to images (B, C, H, W) in `pixel_range`."""
    pixels = tokens.shape[1] * tokens.shape[2] * tokenizer.stride**2
    # Codes are checked where reading them costs nothing.
    decode = tokenizer.decode if tokens.device.type == "cpu" else tokenizer.decode_known
    return _in_parts(decode, tokens, pixels).clamp(*tokenizer.pixel_range)


def augmented_pixels(tokenizer: Tokenizer, images: Tensor, augment: Callable[[Tensor], Tensor]) -> Tensor:
    """Augment images (B, C, H, W), kept in the tokenizer's `pixel_range`, which interpolation may leave.

    `augment` works on images in [0, 1], where 0, with which geometry fills the outside, is black.
    """
    low, high = tokenizer.pixel_range
    return (augment((images - low) / (high - low)) * (high - low) + low).clamp(low, high)


def reencoded(tokenizer: Tokenizer, tokens: Tensor, augment: Callable[[Tensor], Tensor]) -> Tensor:
    """Decode tokens (B, h, w) [, channels], augment the pixels and encode these: what TokenAdapt shortens (Table B)."""
    images = augmented_pixels(tokenizer, decoded_pixels(tokenizer, tokens), augment)
    return _in_parts(tokenizer.encode, images, images.shape[2] * images.shape[3])


def nearest_tokens(
    tokenizer: Any, inputs: Tensor, codebook: Tensor | None = None, distance: str | None = None
) -> Tensor:
    """Return the tokens of codes, or nearest to maps (B, D, H, W), as the tokenizer decodes them.

    `codebook` and `distance` are by default the tokenizer's.
    """
    if not inputs.is_floating_point():
        return inputs.long()
    values = inputs.movedim(1, -1)
    if tokenizer.codebook is not None:
        rows = tokenizer.codebook if codebook is None else codebook
        return NEAREST_CODES[distance or tokenizer.distance](values, rows)
    return values.round().clamp(tokenizer.minimum, tokenizer.minimum + tokenizer.codebook_size - 1).long()


def _in_parts(function: Callable[[Tensor], Tensor], batch: Tensor, pixels: int) -> Tensor:
    """Apply a network to some samples (b, ...) at a time; `pixels` is the number per sample."""
    most = _CPU_PIXELS * torch.get_num_threads() if batch.device.type == "cpu" else _DEVICE_PIXELS
    results = [function(part) for part in batch.split(max(1, most // max(1, pixels)))]
    return results[0] if len(results) == 1 else torch.cat(results)
