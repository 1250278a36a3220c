"""Tokens decoded, augmented as pixels and encoded again: the way that TokenAdapt makes short (SeiT++, Table B)."""

from collections.abc import Callable

from torch import Tensor

from seitpp.layers.pieces import in_pieces
from seitpp.tokenizers.base import Tokenizer

# Pixels that go through a network at a time: an image of 256 x 256 per thread of a CPU, 64 of them elsewhere.
_CPU_PIXELS, _DEVICE_PIXELS = 1 << 16, 1 << 22


def decoded_pixels(tokenizer: Tokenizer, tokens: Tensor) -> Tensor:
    """Images (B, C, H, W) of tokens (B, h, w) [, channels], kept in `pixel_range`."""
    pixels = tokens.shape[1] * tokens.shape[2] * tokenizer.stride**2
    # Where reading them costs nothing, wrong codes are told of.
    decode = tokenizer.decode if tokens.device.type == "cpu" else tokenizer.decode_known
    images = in_pieces(decode, tokens, pixels, _CPU_PIXELS, _DEVICE_PIXELS)
    return images.clamp(*tokenizer.pixel_range)


def encoded_pixels(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    """Tokens (B, h, w) [, channels] of images (B, C, H, W) in `pixel_range`."""
    return in_pieces(tokenizer.encode, images, images.shape[2] * images.shape[3], _CPU_PIXELS, _DEVICE_PIXELS)


def augmented_pixels(tokenizer: Tokenizer, images: Tensor, augment: Callable[[Tensor], Tensor]) -> Tensor:
    """Images (B, C, H, W) augmented, kept in `pixel_range`, which interpolation may leave.

    Args:
        tokenizer: Whose `pixel_range` it is.
        images: The images.
        augment: Takes and gives images of any size in [0, 1], where 0 is black: what geometry fills the outside with.
    """
    low, high = tokenizer.pixel_range
    return (augment((images - low) / (high - low)) * (high - low) + low).clamp(low, high)


def reencoded(tokenizer: Tokenizer, tokens: Tensor, augment: Callable[[Tensor], Tensor]) -> Tensor:
    """Tokens of the decoded tokens (B, h, w) [, channels] under `augment`; see `augmented_pixels`."""
    images = augmented_pixels(tokenizer, decoded_pixels(tokenizer, tokens), augment)
    return encoded_pixels(tokenizer, images)
