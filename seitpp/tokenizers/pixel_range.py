"""Check that a tokenizer expects pixels in the range that it states: a wrong range gives poor codes and no error."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seitpp.tokenizers.base import Tokenizer

_RANGES = ((0.0, 1.0), (-1.0, 1.0))


@dataclass(frozen=True)
class RangeProbe:
    """Root mean square errors of a reconstructed ramp, in 8-bit pixel values, 0 to 255."""

    stated: tuple[float, float]
    other: tuple[float, float]
    stated_error: float  # with pixels in the tokenizer's own range
    other_error: float  # in the other common one
    flat_error: float  # of a flat image of the ramp's mean; trained networks stay far below

    @property
    def fits(self) -> bool:
        """Whether the stated range reconstructs better than the other and than a flat image."""
        return self.stated_error < min(self.other_error, self.flat_error)

    def __str__(self) -> str:
        return (
            f"pixels in {list(self.stated)}: error {self.stated_error:.2f} of 255, "
            f"in {list(self.other)}: {self.other_error:.2f}, a flat image: {self.flat_error:.2f}"
        )


def ramp_image(size: tuple[int, int], channels: int = 3) -> Tensor:
    """Make a smooth image from black to white with slow changes of colour, (1, C, H, W), uint8.

    Smooth on purpose: on texture, a network for [-1, 1] given [0, 1] sees a paler image and makes proportionally
    smaller errors, and the two ranges would tie. On a ramp the error of a colour remains, equal in the network's units,
    which counts double in the narrower range. A network for [0, 1] given [-1, 1] fails on the dark half.
    """
    down = torch.linspace(0, 1, size[0])[:, None].expand(size)
    across = torch.linspace(0, 1, size[1])[None].expand(size)
    phases = torch.arange(channels)[:, None, None] * (2 * torch.pi / 3)
    colour = 0.15 * (2 * torch.pi * across + phases).sin() * (down * (1 - down) * 4)
    return ((down + colour).clamp(0, 1) * 255).round().to(torch.uint8)[None]


def measure_pixel_range(tokenizer: Tokenizer) -> RangeProbe:
    """Encode and decode a ramp with pixels in the tokenizer's range, and in the other common one."""
    if not tokenizer.can_decode:
        raise ValueError(f"the pixel range of {type(tokenizer).__name__} cannot be probed: it has no decoder")
    stated = tuple(tokenizer.pixel_range)
    other = _RANGES[1] if stated == _RANGES[0] else _RANGES[0]
    weight = next(iter(tokenizer.parameters()), torch.zeros(()))
    pixels = ramp_image(tokenizer.image_size, tokenizer.in_channels).to(weight.device)
    errors = []
    for low, high in (stated, other):
        unit = (high - low) / 255
        images = pixels.float() * unit + low
        with torch.no_grad():
            tokens = tokenizer.encode(images)
            # Pixels outside the stated range can give coefficients that decoding refuses.
            tokens = tokens.clamp(tokenizer.minimum, tokenizer.minimum + tokenizer.codebook_size - 1)
            decoded = tokenizer.decode(tokens)
        errors.append(((decoded.float() - images) / unit).square().mean().sqrt().item())
    stated_error, other_error = errors
    return RangeProbe(stated, other, stated_error, other_error, pixels.float().std(correction=0).item())


def probe_pixel_range(tokenizer: Tokenizer) -> RangeProbe:
    """Measure, and raise `ValueError` with both errors if the stated range is not the better one."""
    probe = measure_pixel_range(tokenizer)
    if not probe.fits:
        raise ValueError(
            f"{type(tokenizer).__name__} reconstructs a ramp no better in the range that it states ({probe}): its "
            "weights are for the other range, damaged, or not trained"
        )
    return probe
