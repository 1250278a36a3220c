"""ViT-VQGAN (Yu et al., 2021), in the form of the published weights of thuanz123/enhancing-transformers.

A transformer maps patches of pixels to vectors of 32 values, each takes the nearest of 8,192 codes by cosine, and a
transformer maps the codes' vectors back. SeiT's tokens were made by one of these.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil, floor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from seitpp.images.resizing import ResizeRule
from seitpp.io.checkpoint_config import config_of_checkpoint
from seitpp.layers.positions import sincos_position_table
from seitpp.layers.tanh_transformer import TanhTransformer
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers.base import ResizeMode, as_size
from seitpp.tokenizers.codebook import CodeSubset
from seitpp.tokenizers.vq_tokenizer import Precision, VQTokenizer

_SMALL = {"dims": 512, "depth": 8, "num_heads": 8, "mlp_dims": 2048}
_BASE = {"dims": 768, "depth": 12, "num_heads": 12, "mlp_dims": 3072}
_WIDE_DECODER = {"dims": 1280, "depth": 32, "num_heads": 16, "mlp_dims": 5120}

ARCHS: dict[str, dict[str, Any]] = {
    "small": {"encoder": _SMALL, "decoder": _SMALL},
    "base": {"encoder": _BASE, "decoder": _BASE},
    # A config exists, weights were not published.
    "large": {"encoder": _SMALL, "decoder": _WIDE_DECODER},
    # SeiT's tokenizer, which keeps 391 of 8,192 codes.
    "seit": {"encoder": _BASE, "decoder": _BASE, "codebook_size": 391},
}
_PRESETS = {"small": "vitvqgan_small", "base": "vitvqgan_base", "large": "vitvqgan_large", "seit": "seit_vitvqgan"}
_CODEBOOK_SIZE = 8192
_TRAINING_SIZE = 256  # pixels, of all that were published
# Position tables kept at a time: images of many sizes would fill the memory otherwise.
_MOST_TABLES = 8


class PositionTables(nn.Module):
    """Sine-cosine positions of any grid, made when a grid is first seen and kept; no part of checkpoints."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims
        self._tables: dict[tuple[int, int, torch.device], Tensor] = {}

    def forward(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Return positions (1, rows * columns, dims), float32."""
        key = (rows, columns, device)
        if key not in self._tables:
            if len(self._tables) == _MOST_TABLES:
                self._tables.clear()
            # In float64, as the published tables were.
            table = sincos_position_table((rows, columns), self.dims, computed_in=torch.float64)
            self._tables[key] = table.to(device)
        return self._tables[key]


class ViTEncoder(nn.Module):
    """Patches of pixels to vectors: images (B, C, H, W) to (B, D, H / patch, W / patch).

    `dims` is the width of the transformer, `stack` the rest of `TanhTransformer`'s options.
    """

    def __init__(self, in_channels: int, patch_size: int, code_dim: int, dims: int, **stack: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.patch_embed = nn.Conv2d(in_channels, dims, patch_size, stride=patch_size)
        self.positions = PositionTables(dims)
        self.transformer = TanhTransformer(dims, **stack)
        self.pre_quant = nn.Linear(dims, code_dim)

    def forward(self, images: Tensor) -> Tensor:
        grid = [side // self.patch_size for side in images.shape[-2:]]
        return self.pre_quant(self.features(images)).movedim(1, 2).unflatten(2, grid)

    def features(self, images: Tensor) -> Tensor:
        """Return the transformer's outputs for the patches, row by row, (B, h w, dims)."""
        patches = self.patch_embed(images)
        return self.transformer(patches.flatten(2).movedim(1, 2) + self.positions(*patches.shape[-2:], patches.device))


class ViTDecoder(nn.Module):
    """Vectors to patches of pixels: (B, D, h, w) to images (B, C, h * patch, w * patch), not clamped."""

    def __init__(self, out_channels: int, patch_size: int, code_dim: int, dims: int, **stack: int) -> None:
        super().__init__()
        self.post_quant = nn.Linear(code_dim, dims)
        self.positions = PositionTables(dims)
        self.transformer = TanhTransformer(dims, **stack)
        self.to_pixels = nn.ConvTranspose2d(dims, out_channels, patch_size, stride=patch_size)

    def forward(self, vectors: Tensor) -> Tensor:
        grid = vectors.shape[-2:]
        x = self.post_quant(vectors.flatten(2).movedim(1, 2))
        x = self.transformer(x + self.positions(*grid, vectors.device))
        return self.to_pixels(x.movedim(1, 2).unflatten(2, grid))


@TOKENIZERS.register_module()
class ViTVQGAN(VQTokenizer):
    """Transformer encoder and decoder around a codebook whose rows are compared by cosine; pixels in [0, 1].

    Args:
        arch: `small`, `base`, `large`, `seit`, or the sizes: `encoder` and `decoder`, each with `dims`, `depth`,
            `num_heads`, `mlp_dims` and, if not 64, `head_dims`.
        codebook_size: Number of codes K; by default 8,192, and 391 for `seit`.
        image_size: Height and width that images are resized to.
        patch_size: Height and width of a code in pixels.
        positions: How images of other sizes than in training are encoded. `recompute`: with the sine-cosine table of
            their grid, for any multiple of the patch. `tiles`: as squares of `tile_size`, each on its own, for
            multiples of it. By default `tiles` where there is a checkpoint and `image_size` is a multiple of the size
            that it was trained at, as `training_size` tells it.
        tile_size: Height and width of the training images; by default what `training_size` tells, or 256.

    `resize_mode`, `resize` and `precision` are as for `VQTokenizer`; `checkpoint`, `code_subset` and `codebook` as for
    `VQTokenizer.load_options`.
    """

    pixel_range = (0.0, 1.0)

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "base",
        codebook_size: int | None = None,
        code_dim: int = 32,
        image_size: int | Sequence[int] = 256,
        patch_size: int = 8,
        in_channels: int = 3,
        positions: Literal["recompute", "tiles"] | None = None,
        tile_size: int | None = None,
        resize_mode: ResizeMode = "exact",
        resize: ResizeRule = "bicubic",
        precision: Precision = "float32",
        checkpoint: str | Path | None = None,
        code_subset: CodeSubset | None = None,
        codebook: Tensor | np.ndarray | None = None,
    ) -> None:
        sizes = _sizes_of(arch)
        super().__init__(
            ViTEncoder(in_channels, patch_size, code_dim, **sizes["encoder"]),
            ViTDecoder(in_channels, patch_size, code_dim, **sizes["decoder"]),
            codebook_size=codebook_size or sizes.get("codebook_size", _CODEBOOK_SIZE),
            code_dim=code_dim,
            distance="cosine",
            image_size=image_size,
            resize_mode=resize_mode,
            resize=resize,
            precision=precision,
        )
        if positions not in ("recompute", "tiles", None):
            raise ValueError(f"positions must be 'recompute' or 'tiles', got {positions!r}")
        self.arch = arch if isinstance(arch, str) else sizes
        self.in_channels = in_channels
        self.stride = patch_size
        _check_multiple(self.image_size, patch_size, "patch")
        if checkpoint is not None and not (positions and tile_size):
            tile_size = tile_size or training_size(arch, checkpoint)
            positions = positions or _default_positions(self.image_size, tile_size)
        self.positions = positions or "recompute"
        self.tile_size = tile_size or _TRAINING_SIZE
        if self.tile_size % patch_size:
            raise ValueError(f"tile_size {self.tile_size} is not a multiple of patch_size {patch_size}")
        if self.positions == "tiles":
            _check_multiple(self.image_size, self.tile_size, "tile")
        self.load_options(checkpoint, code_subset, codebook)

    @property
    def preset(self) -> str | None:
        return _PRESETS[self.arch] if isinstance(self.arch, str) else None

    @property
    def advice(self) -> str | None:
        size = None if self.checkpoint is None else training_size(self.arch, self.checkpoint)
        if size is None or self.positions == "tiles" or self.image_size == (size, size):
            return None
        trained = f"it was trained at {size} x {size} pixels"
        if any(side % size for side in self.image_size):
            return f"{trained}; take a multiple of that as image_size, which it then encodes in tiles"
        return f'{trained}, and positions="tiles" encodes squares of that size, as in training'

    def check_images(self, images: Tensor) -> None:
        super().check_images(images)
        if self.positions == "tiles" and any(side % self.tile_size for side in images.shape[-2:]):
            raise ValueError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels cannot be cut into tiles of "
                f"{self.tile_size} x {self.tile_size}; resize them to a multiple, or use positions='recompute'"
            )

    def embed(self, images: Tensor) -> Tensor:
        self.check_images(images)
        if self.positions == "recompute":
            return self.encoder(images)
        rows, columns = (side // self.tile_size for side in images.shape[-2:])
        return from_tiles(self.encoder(to_tiles(images, self.tile_size)), rows, columns)

    def reconstruct(self, vectors: Tensor) -> Tensor:
        if self.positions == "recompute":
            return super().reconstruct(vectors)
        tile = self.tile_size // self.stride
        if any(side % tile for side in vectors.shape[-2:]):
            raise ValueError(f"a grid of {tuple(vectors.shape[-2:])} codes cannot be cut into tiles of {tile} x {tile}")
        rows, columns = (side // tile for side in vectors.shape[-2:])
        return from_tiles(super().reconstruct(to_tiles(vectors, tile)), rows, columns)

    def describe_networks(self) -> dict:
        return {
            "arch": self.arch,
            "codebook_size": self._whole_size,
            "code_dim": self.codebook.shape[1],
            "patch_size": self.stride,
            "in_channels": self.in_channels,
            "positions": self.positions,
            # Without tiles it means nothing, and stores have always said this.
            "tile_size": self.tile_size if self.positions == "tiles" else _TRAINING_SIZE,
        }


def training_size(arch: str | Mapping[str, Any], checkpoint: str | Path) -> int | None:
    """Return height and width of the images that weights were trained on; None where nothing tells.

    Those of named sizes are the published ones; for others the checkpoint's own config is asked.
    """
    if isinstance(arch, str):
        return _TRAINING_SIZE
    with suppress(OSError, ValueError, KeyError, TypeError):  # it may be of any run, or none
        height, width = as_size(config_of_checkpoint(checkpoint)["model"]["tokenizer"]["image_size"])
        return height if height == width > 0 else None
    return None


def _check_multiple(image_size: tuple[int, int], unit: int, name: str) -> None:
    if any(side % unit for side in image_size):
        near = [tuple(max(1, rounded(side / unit)) * unit for side in image_size) for rounded in (floor, ceil)]
        raise ValueError(
            f"image_size {image_size} is not a multiple of the {name} size {unit}; use "
            f"{' or '.join(map(str, dict.fromkeys(near)))}"
        )


def _default_positions(image_size: tuple[int, int], trained: int | None) -> Literal["recompute", "tiles"]:
    """Choose tiles where the size allows it; warn where it is another than in training and does not."""
    if trained is None or image_size == (trained, trained):
        return "recompute"
    if not any(side % trained for side in image_size):
        return "tiles"
    print_log(
        f"a ViT-VQGAN that was trained at {trained} x {trained} pixels encodes {image_size[0]} x {image_size[1]} with "
        f"positions that it has not seen, which costs quality; multiples of {trained} are encoded in tiles",
        logger="current",
        level=logging.WARNING,
    )
    return "recompute"


def to_tiles(maps: Tensor, size: int) -> Tensor:
    """Cut maps (B, C, H, W) into squares, row by row: (B * rows * columns, C, size, size)."""
    squares = maps.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, C, rows, size, columns, size)
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def from_tiles(tiles: Tensor, rows: int, columns: int) -> Tensor:
    """Invert `to_tiles`: (B * rows * columns, C, size, size) to (B, C, H, W)."""
    squares = tiles.unflatten(0, (-1, rows, columns))
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _sizes_of(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of encoder and decoder as plain dicts."""
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"arch {arch!r} is not known; expected one of {', '.join(ARCHS)}, or a dict of sizes")
        return ARCHS[arch]
    if not {"encoder", "decoder"} <= arch.keys() <= {"encoder", "decoder", "codebook_size"}:
        raise ValueError(f"arch has the keys {', '.join(arch)}; expected encoder and decoder, dicts of sizes")
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in arch.items()}
