"""Convolutional VQGAN (Esser et al., 2021) and its relatives of the same blocks.

The same networks serve taming-transformers' VQGANs (also the one with Gumbel quantiser), the first stages of latent
diffusion (Rombach et al., 2022) and LlamaGen's tokenizers (Sun et al., 2024), with other widths, attention at other
resolutions, and another search for the nearest code.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seitpp.images.resizing import ResizeRule
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers.base import ResizeMode
from seitpp.tokenizers.codebook import CodeSubset, best_scored_codes
from seitpp.tokenizers.precision import network_precision
from seitpp.tokenizers.vq_tokenizer import Precision, VQTokenizer

_GROUPS, _EPSILON = 32, 1e-6  # of every GroupNorm, so widths are multiples of 32

# Options of the networks that most published models share.
_DEFAULTS: dict[str, Any] = {
    "channels": 128,
    "num_res_blocks": 2,
    "resolution": 256,
    "quantizer": "euclidean",
    "middle_attention": True,
}
_F16 = {"multipliers": (1, 1, 2, 2, 4), "attention_at": (16,)}
_F8 = {"multipliers": (1, 2, 2, 4), "attention_at": (32,)}
_F4 = {"multipliers": (1, 2, 4), "attention_at": (), "z_channels": 3, "codebook_size": 8192, "code_dim": 3}
_GUMBEL_F8 = {"multipliers": (1, 1, 2, 4), "attention_at": (32,), "codebook_size": 8192, "quantizer": "logits"}
_TAMING = {"z_channels": 256, "code_dim": 256}

ARCHS: dict[str, dict[str, Any]] = {
    "vqgan_f16_1024": {**_F16, **_TAMING, "codebook_size": 1024},
    "vqgan_f16_16384": {**_F16, **_TAMING, "codebook_size": 16384},
    "vqgan_gumbel_f8": {**_GUMBEL_F8, **_TAMING},
    "ldm_vq_f8": {**_F8, "z_channels": 4, "codebook_size": 16384, "code_dim": 4},
    "ldm_vq_f8_n256": {**_F8, "z_channels": 4, "codebook_size": 256, "code_dim": 4},
    "ldm_vq_f4": _F4,
    "ldm_vq_f4_noattn": {**_F4, "middle_attention": False},
    "ldm_vq_f16": {**_F16, "z_channels": 8, "codebook_size": 16384, "code_dim": 8},
    "llamagen_vq16": {**_F16, "z_channels": 256, "codebook_size": 16384, "code_dim": 8, "quantizer": "cosine"},
    "llamagen_vq8": {**_F8, "z_channels": 256, "codebook_size": 16384, "code_dim": 8, "quantizer": "cosine"},
}
_SIZES = ("multipliers", "attention_at", "z_channels", "codebook_size", "code_dim", *_DEFAULTS)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=_EPSILON)


class ResBlock(nn.Module):
    """x + conv2(swish(norm2(conv1(swish(norm1(x)))))), x through a 1 x 1 convolution if the width changes."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))


class AttentionBlock(nn.Module):
    """x + out(attention(norm(x))): one head, every position to every position, scores scaled by C^-0.5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # (B, 1 head, H W, C)
        q, k, v = (part(normed).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        return x + self.out(attended.unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    """Halve height and width by a strided convolution, with a row and a column of zeros below and on the right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width by repetition, followed by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention if there is any, then a change of resolution."""

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, attends: bool, resample: nn.Module | None
    ) -> None:
        super().__init__()
        widths = [in_channels, *[out_channels] * num_blocks]
        self.blocks = nn.ModuleList(ResBlock(*pair) for pair in pairwise(widths))
        self.attentions = nn.ModuleList(AttentionBlock(out_channels) for _ in range(num_blocks if attends else 0))
        self.resample = resample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x)
            if self.attentions:
                x = self.attentions[number](x)
        return self.resample(x)


def _middle(channels: int, attends: bool) -> nn.Sequential:
    between = AttentionBlock(channels) if attends else nn.Identity()
    return nn.Sequential(ResBlock(channels, channels), between, ResBlock(channels, channels))


class ConvEncoder(nn.Module):
    """Images (B, C, H, W) to vectors (B, D, H / f, W / f), f = 2 to the number of levels less one.

    Args:
        channels: Width unit.
        multipliers: Width of each level in that unit, finest first.
        attention_at: Resolutions with attention for images of `resolution`; these levels have it at any image size.
        resolution: Height and width of the training images.
        z_channels: Width of the result before the last 1 x 1 convolution.
        middle_attention: Whether the coarsest resolution has attention between its last blocks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        multipliers: Sequence[int],
        num_res_blocks: int,
        attention_at: Sequence[int],
        resolution: int,
        z_channels: int,
        code_dim: int,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.levels = nn.ModuleList(
            Level(
                widths[level - 1] if level else channels,
                width,
                num_res_blocks,
                attends=resolution >> level in attention_at,
                resample=Downsample(width) if level < last else None,
            )
            for level, width in enumerate(widths)
        )
        self.mid = _middle(widths[-1], middle_attention)
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)
        self.pre_quant = nn.Conv2d(z_channels, code_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.pre_quant(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return the result before the last 1 x 1 convolution, (B, z_channels, h, w)."""
        x = self.conv_in(images)
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class ConvDecoder(nn.Module):
    """Vectors (B, D, h, w) to images (B, C, h * f, w * f), not clamped.

    Options are the encoder's. Levels are numbered as there and run in reverse; each has one more residual block.
    """

    def __init__(
        self,
        out_channels: int,
        channels: int,
        multipliers: Sequence[int],
        num_res_blocks: int,
        attention_at: Sequence[int],
        resolution: int,
        z_channels: int,
        code_dim: int,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.post_quant = nn.Conv2d(code_dim, z_channels, 1)
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = _middle(widths[-1], middle_attention)
        coarser = [*widths[1:], widths[-1]]
        self.levels = nn.ModuleList(
            Level(
                coarser[level],
                width,
                num_res_blocks + 1,
                attends=resolution >> level in attention_at,
                resample=Upsample(width) if level else None,
            )
            for level, width in enumerate(widths)
        )
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, vectors: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant(vectors)))
        for level in reversed(self.levels):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


@TOKENIZERS.register_module()
class VQGAN(VQTokenizer):
    """Convolutional encoder and decoder around a codebook; pixels in [-1, 1].

    Args:
        arch: Name of a published model (`ARCHS`), or the sizes: `multipliers`, `attention_at`, `z_channels`,
            `codebook_size`, `code_dim`, and where they differ from 128, 2, 256, `euclidean` and True also `channels`,
            `num_res_blocks`, `resolution`, `quantizer` and `middle_attention`. The quantiser `logits`, Gumbel-VQGAN's,
            takes the code with the largest score (without the random noise that the published code adds).
        image_size: Height and width that images are resized to; multiples of the stride.

    `resize_mode`, `resize` and `precision` are as for `VQTokenizer`; `checkpoint`, `code_subset` and `codebook` as for
    `VQTokenizer.load_options`.
    """

    pixel_range = (-1.0, 1.0)

    def __init__(
        self,
        arch: str | Mapping[str, Any],
        image_size: int | Sequence[int] = 256,
        in_channels: int = 3,
        resize_mode: ResizeMode = "center-crop",
        resize: ResizeRule = "bicubic",
        precision: Precision = "float32",
        checkpoint: str | Path | None = None,
        code_subset: CodeSubset | None = None,
        codebook: Tensor | np.ndarray | None = None,
    ) -> None:
        sizes = _sizes_of(arch)
        quantizer: Literal["euclidean", "cosine", "logits"] = sizes.pop("quantizer")
        codebook_size = sizes.pop("codebook_size")
        if quantizer not in ("euclidean", "cosine", "logits"):
            raise ValueError(f"quantizer must be 'euclidean', 'cosine' or 'logits', got {quantizer!r}")
        super().__init__(
            ConvEncoder(in_channels, **sizes),
            ConvDecoder(in_channels, **sizes),
            codebook_size=codebook_size,
            code_dim=sizes["code_dim"],
            distance="cosine" if quantizer == "cosine" else "euclidean",
            image_size=image_size,
            resize_mode=resize_mode,
            resize=resize,
            precision=precision,
        )
        self.arch = arch if isinstance(arch, str) else {**sizes, "quantizer": quantizer, "codebook_size": codebook_size}
        if not isinstance(arch, str) and sizes["middle_attention"]:  # what stores recorded before it was an option
            del self.arch["middle_attention"]
        self.in_channels = in_channels
        self.stride = 1 << (len(sizes["multipliers"]) - 1)
        if any(side % self.stride for side in self.image_size):
            raise ValueError(f"image_size {self.image_size} is not a multiple of the stride {self.stride}")
        self.code_scores = nn.Conv2d(sizes["code_dim"], codebook_size, 1) if quantizer == "logits" else None
        self.load_options(checkpoint, code_subset, codebook)

    @property
    def preset(self) -> str | None:
        return self.arch if isinstance(self.arch, str) else None

    def quantize(self, vectors: Tensor) -> Tensor:
        """Find the nearest or best scored code of each vector in float32: (B, D, h, w) to (B, h, w); no gradient."""
        if self.code_scores is None:
            return super().quantize(vectors)
        rows = vectors.detach().float().movedim(1, -1)  # (B, h, w, D)
        weight, bias = self.code_scores.weight.detach().flatten(1).float(), self.code_scores.bias.detach().float()
        with torch.no_grad(), network_precision(vectors.device.type, "float32"):
            codes = best_scored_codes(
                rows.flatten(0, -2), lambda chunk: torch.addmm(bias, chunk, weight.T), len(weight)
            )
        return codes.view(rows.shape[:-1])

    def _keep_rows(self, rows: Tensor) -> None:
        super()._keep_rows(rows)
        if self.code_scores is not None:
            whole = self.code_scores
            self.code_scores = nn.Conv2d(whole.in_channels, len(rows), 1).to(whole.weight)
            self.code_scores.weight.data.copy_(whole.weight.data[rows])
            self.code_scores.bias.data.copy_(whole.bias.data[rows])

    def describe_networks(self) -> dict:
        return {"arch": self.arch, "in_channels": self.in_channels}


def _sizes_of(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return every size of the networks, checked for unknown and missing names."""
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"arch {arch!r} is not known; expected one of {', '.join(ARCHS)}, or a dict of sizes")
        arch = ARCHS[arch]
    sizes = {**_DEFAULTS, **arch}
    if set(sizes) != set(_SIZES):
        wrong = sorted(set(sizes) ^ set(_SIZES))
        raise ValueError(f"arch is missing, or has and should not: {', '.join(wrong)}; expected {', '.join(_SIZES)}")
    sizes["multipliers"], sizes["attention_at"] = list(sizes["multipliers"]), list(sizes["attention_at"])
    if sizes["channels"] % _GROUPS:
        raise ValueError(f"channels must be a multiple of {_GROUPS}, got {sizes['channels']}")
    return sizes
