"""Quantised frequency coefficients of 8 x 8 blocks, as a JPEG file holds before its entropy coding; no network.

Colours as JFIF defines them (full-range YCbCr), the cosine transform of ITU-T T.81 A.3.3, its Annex K tables scaled by
quality as libjpeg does, chroma at full resolution (4:4:4), frequencies in zigzag order.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seitpp.images.resizing import ResizeRule
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers.base import ResizeMode, Tokenizer, as_size

_SIZE = 8
_FREQUENCIES = _SIZE * _SIZE
_CENTRE = 128.0  # samples are transformed as values in [-128, 127]

# Tables K.1 and K.2, row by row: vertical frequency down, horizontal across.
# fmt: off
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA_TABLE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)
# fmt: on
# R, G, B to Y, Cb, Cr (T.871, full range); Cb and Cr lie around `_CENTRE`.
_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.299 / 1.772, -0.587 / 1.772, 0.5),
    (0.5, -0.587 / 1.402, -0.114 / 1.402),
)


@TOKENIZERS.register_module()
class BlockDCT(Tokenizer):
    """Images to integers (B, H / 8, W / 8, channels): the quantised DCT coefficients of each 8 x 8 block.

    Channels run from the lowest frequency up in zigzag order; at each frequency Y, then Cb and Cr as far as they are
    kept. Only rounding and the coefficients that are left out lose something.

    Args:
        image_size: Height and width that images are resized to, multiples of 8.
        quality: libjpeg's quality, 1 to 100.
        luma_coefficients: Frequencies of Y that are kept, 1 to 64.
        chroma_coefficients: Frequencies of Cb and of Cr that are kept, at most those of Y.
        in_channels: 3 for RGB, 1 for grey, which has Y alone.
        block_size: Always 8, as the tables are.

    `resize_mode` and `resize` are attributes of every `Tokenizer`.
    """

    codebook = None
    pixel_range = (0.0, 1.0)
    stride = _SIZE

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        quality: int = 50,
        luma_coefficients: int = 64,
        chroma_coefficients: int = 64,
        in_channels: int = 3,
        block_size: int = _SIZE,
        resize_mode: ResizeMode = "exact",
        resize: ResizeRule = "bicubic",
    ) -> None:
        super().__init__()
        self.image_size = as_size(image_size)
        if block_size != _SIZE or any(side % _SIZE for side in self.image_size):
            raise ValueError(f"blocks are 8 x 8, got block_size {block_size} for image_size {self.image_size}")
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels must be 3 (RGB) or 1 (grey), got {in_channels}")
        if not 1 <= luma_coefficients <= _FREQUENCIES or not 0 <= chroma_coefficients <= luma_coefficients:
            raise ValueError(
                f"expected 1 <= luma_coefficients <= 64 and 0 <= chroma_coefficients <= luma_coefficients, got "
                f"{luma_coefficients} and {chroma_coefficients}"
            )
        self.set_resizing(resize, resize_mode)
        self.quality, self.in_channels = quality, in_channels
        self.luma_coefficients = luma_coefficients
        self.chroma_coefficients = chroma_coefficients if in_channels == 3 else 0
        self.channels = luma_coefficients + 2 * self.chroma_coefficients
        with torch.device("cpu"):  # constants, known also where a model is built without values
            self._make_constants()

    def _make_constants(self) -> None:
        """Register the cosines, the steps of every component and frequency and the colour matrices; set `minimum`."""
        basis = dct_basis(zigzag_order())  # (64 frequencies, 64 positions)
        steps = torch.stack([quantization_table(self.quality, chroma=chroma) for chroma in (False, True, True)])
        steps = steps[: self.in_channels, zigzag_order()]  # (components, 64 frequencies)
        self.minimum = -_largest_token(basis, steps, self._kept())
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("steps", steps.float(), persistent=False)
        self.register_buffer("to_ycbcr", torch.tensor(_TO_YCBCR), persistent=False)
        self.register_buffer("to_rgb", torch.tensor(_TO_YCBCR).double().inverse().float(), persistent=False)

    @property
    def codebook_size(self) -> int:
        """Number of values of a token: the largest coefficient of any image, either sign, and 0."""
        return 1 - 2 * self.minimum

    def encode(self, images: Tensor) -> Tensor:
        self.check_images(images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            samples = images.float() * 255
            if self.in_channels == 3:
                samples = torch.einsum("ij,bjhw->bihw", self.to_ycbcr, samples)
            # Cb and Cr are stored around 128 and transformed around 0, so only Y moves.
            samples[:, 0] -= _CENTRE
            coefficients = to_blocks(samples) @ self.basis.T  # (B, components, h, w, 64)
            tokens = (coefficients / self.steps[:, None, None]).round_().long()
        return tokens.permute(0, 2, 3, 4, 1).flatten(3)[..., self._indices()]

    def decode_known(self, codes: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(codes.device.type, enabled=False):
            # Coefficients that are left out are 0.
            every = torch.zeros(*codes.shape[:3], _FREQUENCIES * self.in_channels, device=codes.device)
            every[..., self._indices()] = codes.float()
            coefficients = every.unflatten(3, (_FREQUENCIES, -1)).permute(0, 4, 1, 2, 3) * self.steps[:, None, None]
            samples = from_blocks(coefficients @ self.basis)
            samples[:, 0] += _CENTRE
            if self.in_channels == 3:
                samples = torch.einsum("ij,bjhw->bihw", self.to_rgb, samples)
            return samples / 255

    def decode(self, codes: Tensor) -> Tensor:
        integers = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
        if not integers or codes.ndim != 4 or codes.shape[3] != self.channels:
            raise ValueError(
                f"tokens are {codes.dtype} of shape {tuple(codes.shape)}; expected integers (B, h, w, {self.channels})"
            )
        if codes.numel() and (codes.min() < self.minimum or codes.max() > -self.minimum):
            raise ValueError(
                f"tokens lie in [{codes.min()}, {codes.max()}]; at quality {self.quality} they lie in "
                f"[{self.minimum}, {-self.minimum}]. Were they made at another quality?"
            )
        return self.decode_known(codes)

    def describe(self) -> dict:
        return {
            "type": "BlockDCT",
            "image_size": list(self.image_size),
            "quality": self.quality,
            "luma_coefficients": self.luma_coefficients,
            "chroma_coefficients": self.chroma_coefficients,
            "in_channels": self.in_channels,
            **self.describe_resizing(),
            "preprocessing": {
                **self.describe_preprocessing(),
                "color": "YCbCr (JFIF, full range), 4:4:4" if self.in_channels == 3 else "grey",
                "order": "zigzag; at each frequency Y, Cb, Cr",
            },
        }

    def _kept(self) -> list[int]:
        return [self.luma_coefficients, self.chroma_coefficients, self.chroma_coefficients][: self.in_channels]

    def _indices(self) -> list[int]:
        """Return the indices of the channels among all 64 x components coefficients, frequency first."""
        kept = self._kept()
        return [
            frequency * self.in_channels + component
            for frequency in range(_FREQUENCIES)
            for component in range(self.in_channels)
            if frequency < kept[component]
        ]


def zigzag_order() -> list[int]:
    """Return the 64 positions of a block (row * 8 + column), lowest frequency first (T.81, figure A.6)."""

    def along(position: int) -> tuple[int, int]:
        row, column = divmod(position, _SIZE)
        diagonal = row + column
        return diagonal, column if diagonal % 2 == 0 else row

    return sorted(range(_FREQUENCIES), key=along)


def dct_basis(order: Sequence[int]) -> Tensor:
    """Return orthonormal 2-d cosines of 8 x 8 blocks as rows, (64 frequencies in `order`, 64 positions), float64."""
    frequency = torch.arange(_SIZE, dtype=torch.float64)
    angles = torch.outer(frequency, 2 * frequency + 1) * math.pi / (2 * _SIZE)
    one_dimensional = angles.cos() * (2 / _SIZE) ** 0.5
    one_dimensional[0] /= 2**0.5
    return torch.kron(one_dimensional, one_dimensional)[list(order)]


def quantization_table(quality: int, chroma: bool) -> Tensor:
    """Return the Annex K table scaled as by libjpeg (`jpeg_set_quality`, baseline), row by row, (64,), in [1, 255]."""
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be an integer in [1, 100], got {quality!r}")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(_CHROMA_TABLE if chroma else _LUMA_TABLE)
    return ((table * percent + 50) // 100).clamp(1, 255)


def to_blocks(maps: Tensor) -> Tensor:
    """Cut maps (B, C, H, W) into blocks (B, C, H / 8, W / 8, 64), each row by row."""
    return maps.unflatten(3, (-1, _SIZE)).unflatten(2, (-1, _SIZE)).transpose(3, 4).flatten(4)


def from_blocks(blocks: Tensor) -> Tensor:
    """Invert `to_blocks`."""
    return blocks.unflatten(4, (_SIZE, _SIZE)).transpose(3, 4).flatten(4).flatten(2, 3)


def _largest_token(basis: Tensor, steps: Tensor, kept: Sequence[int]) -> int:
    """Return the largest absolute quantised coefficient, among those kept, of any image with pixels in [0, 255]."""
    bounds = []
    for component, count in enumerate(kept):
        # Y - 128 is in [-128, 127], Cb and Cr in [-127.5, 127.5]; the extreme block follows the cosine's signs.
        low, high = (-_CENTRE, 255 - _CENTRE) if component == 0 else (-127.5, 127.5)
        positive, negative = basis.clamp(min=0).sum(dim=1), basis.clamp(max=0).sum(dim=1)
        extreme = torch.maximum(high * positive + low * negative, -(low * positive + high * negative))
        bounds += (extreme / steps[component])[:count].tolist()
    return math.floor(max(bounds) + 0.5 + 1e-3)  # encoding rounds in float32
