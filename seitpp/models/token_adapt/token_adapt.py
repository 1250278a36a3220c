"""TokenAdapt: tokens to a feature map that image augmentations can act on, and back (SeiT++, Sec. 3.3, eq. 2).

The conversion f makes a map S = f(Z) of twice the grid's rows and columns, an augmentation A acts on S, and the
reversal g scores the codebook at every position of A(S). These are the networks alone: `TokenAdaptPretrain` trains
them, `seitpp.augment.TokenAdaptAugment` puts them around augmentations.

Legend: B samples, H x W tokens before and h x w after the augmentation, K codes, D values per code, C width of the
transformers, M channels of the map.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from seitpp.layers.positions import sincos_position_table
from seitpp.layers.tanh_transformer import TanhTransformer
from seitpp.registry import MODELS
from seitpp.structures.grid_record import by
from seitpp.tokenizers.codebook import best_scored_codes

# Height and width of a token in positions of the map, before and after.
_MAP_STRIDE = 2


@MODELS.register_module()
class TokenAdapt(BaseModule):
    """The conversion f and the reversal g around a map of features (SeiT++, Sec. 3.3 and 4.7).

    Defaults are the release's: 3.8 million weights, of which 0.15 million score the codebook; the paper speaks of 3.7
    million and of one transformer block each way.

    Args:
        codebook_size: Number of codes K that the reversal scores; None for tokens without a codebook (DCT
            coefficients), whose values it regresses.
        code_dim: Values per token, D: those of its code, or its own.
        grid: Height and width, in tokens, of what is converted; one number for a square.
        out_grid: Height and width, in tokens, of what is reversed: after the augmentation, which may crop.
        dims: Width C of both transformers, divisible by 4.
        depth: Blocks of each.
        map_dims: Channels of the map, M; by default D.

    Attributes:
        mean: (regression) Mean of each of the D values over the data, subtracted before and added after; 0 at first.
        std: (regression) Deviation of each of the D values, divided by before and multiplied with after; 1 at first.
        map_grid: Rows and columns of the map that `convert` makes.
        out_map_grid: Rows and columns of the map that `reverse` takes.
    """

    map_stride = _MAP_STRIDE
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        codebook_size: int | None,
        code_dim: int,
        grid: int | tuple[int, int] = 32,
        out_grid: int | tuple[int, int] = 28,
        dims: int = 384,
        depth: int = 1,
        num_heads: int = 6,
        head_dims: int = 64,
        mlp_dims: int = 1536,
        map_dims: int | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.codebook_size = codebook_size
        self.code_dim = code_dim
        self.grid, self.out_grid = _pair("grid", grid), _pair("out_grid", out_grid)
        self.map_grid = (self.grid[0] * _MAP_STRIDE, self.grid[1] * _MAP_STRIDE)
        self.out_map_grid = (self.out_grid[0] * _MAP_STRIDE, self.out_grid[1] * _MAP_STRIDE)
        self.map_dims = code_dim if map_dims is None else map_dims
        sizes = {"code_dim": code_dim, "dims": dims, "depth": depth, "num_heads": num_heads, "head_dims": head_dims}
        sizes |= {"mlp_dims": mlp_dims, "map_dims": self.map_dims}
        sizes |= {} if codebook_size is None else {"codebook_size": codebook_size}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        stack = dict(depth=depth, num_heads=num_heads, head_dims=head_dims, mlp_dims=mlp_dims)
        self.conversion = MapConversion(code_dim, self.map_dims, self.grid, dims, **stack)
        self.reversal = MapReversal(self.map_dims, codebook_size or code_dim, self.out_grid, dims, **stack)
        if codebook_size is None:
            self.register_buffer("mean", torch.zeros(code_dim))
            self.register_buffer("std", torch.ones(code_dim))

    @property
    def regresses(self) -> bool:
        """Whether `reverse` returns values and not logits."""
        return self.codebook_size is None

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says; else matrices, also of convolutions, by Xavier's uniform, biases to 0."""
        super().init_weights()
        if self.init_cfg is not None:
            return
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(module.weight.data.view(len(module.weight), -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def convert(self, embeddings: Tensor) -> Tensor:
        """Compute the map S = f(Z), (B, M, 2H, 2W), of embeddings Z, (B, D, H, W)."""
        if embeddings.ndim != 4 or embeddings.shape[1] != self.code_dim:
            raise ValueError(
                f"TokenAdapt converts {self.code_dim} values per token, but was given {tuple(embeddings.shape)}; set "
                "token_adapt.code_dim to what the codebook or the store has"
            )
        self._check_grid(embeddings.shape[-2:])
        values = embeddings.flatten(2).movedim(1, 2)
        if self.regresses:
            values = (values - self.mean) / self.std
        return self.conversion(self.conversion.embed(values.to(self.conversion.embed.weight.dtype)))

    def reverse(self, maps: Tensor) -> Tensor:
        """Compute g(A(S)) of maps (B, M, 2h, 2w): logits (B, h, w, K), or without a codebook values (B, h, w, D)."""
        outputs = self.reversal(self._checked_maps(maps))
        return outputs * self.std + self.mean if self.regresses else outputs

    @torch.no_grad()
    def reverse_codes(self, maps: Tensor) -> Tensor:
        """Find the most likely codes (B, h, w), int64, of augmented maps (B, M, 2h, 2w); ties go to the lowest code."""
        if self.regresses:
            raise ValueError("without a codebook_size TokenAdapt has no codes; use reverse, which returns the values")
        features = self.reversal.features(self._checked_maps(maps)).flatten(0, 1)
        codes = best_scored_codes(features, lambda rows: self.reversal.head(rows).float(), self.codebook_size)
        return codes.view(len(maps), *self.out_grid)

    @torch.no_grad()
    def code_tables(self, codebook: Tensor) -> "CodeTables":
        """Compute the first layers' outputs for each code of a codebook (K, D), for `convert_codes`."""
        if tuple(codebook.shape) != (self.codebook_size, self.code_dim):
            raise ValueError(
                f"TokenAdapt scores {self.codebook_size} codes of {self.code_dim} values, but was given a codebook of "
                f"{by(codebook.shape)}; use one that was trained on tokens of this tokenizer"
            )
        return self.conversion.code_tables(codebook)

    @torch.no_grad()
    def convert_codes(self, codes: Tensor, tables: "CodeTables") -> Tensor:
        """`convert` the embeddings of codes (B, H, W), int32 or int64, with the first layers looked up."""
        self._check_grid(codes.shape[-2:])
        return self.conversion.from_codes(codes.flatten(1), tables)

    def reduced(self, dtype: torch.dtype) -> "TokenAdapt":
        """Return a frozen copy that computes in a shorter type; moments of a regression stay float32."""
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        copied.conversion.to(dtype)
        copied.reversal.to(dtype)
        return copied

    def compile_transformers(self, options: dict[str, Any]) -> None:
        """Compile both transformers when they are first called; `options` are those of torch.compile."""
        for part in (self.conversion, self.reversal):
            part.transformer.compile(**options)

    def _check_grid(self, grid: Sequence[int]) -> None:
        if tuple(grid) != self.grid:
            raise ValueError(
                f"TokenAdapt converts grids of {by(self.grid)} tokens, but was given {by(grid)}; set token_adapt.grid"
            )

    def _checked_maps(self, maps: Tensor) -> Tensor:
        if maps.ndim != 4 or maps.shape[1] != self.map_dims:
            raise ValueError(
                f"TokenAdapt reverses maps of {self.map_dims} channels, but was given {tuple(maps.shape)}; set "
                "token_adapt.map_dims"
            )
        if tuple(maps.shape[-2:]) != self.out_map_grid:
            raise ValueError(
                f"TokenAdapt reverses maps of {by(self.out_map_grid)} positions ({by(self.out_grid)} tokens), but was "
                f"given {by(maps.shape[-2:])}; set token_adapt.out_grid, or the size of the crop among the "
                f"augmentations (in positions of the map, of which a token has {_MAP_STRIDE} x {_MAP_STRIDE})"
            )
        return maps.to(self.reversal.from_map.weight.dtype)


class _GridTransformer(nn.Module):
    """What both directions share: a tanh transformer on a grid of tokens, with fixed sine-cosine positions."""

    positions: Tensor

    def __init__(self, grid: tuple[int, int], dims: int, **stack: int) -> None:
        super().__init__()
        self.grid = grid
        self.transformer = TanhTransformer(dims, **stack)
        # A function of the grid alone: weights fit any grid, and no checkpoint carries it.
        self.register_buffer("positions", sincos_position_table(grid, dims), persistent=False)


class MapConversion(_GridTransformer):
    """f: embeddings of a grid of tokens to a map of 2 x 2 positions per token; options as for `TokenAdapt`."""

    def __init__(self, code_dim: int, map_dims: int, grid: tuple[int, int], dims: int, **stack: int) -> None:
        super().__init__(grid, dims, **stack)
        self.embed = nn.Linear(code_dim, dims)
        self.to_map = nn.ConvTranspose2d(dims, map_dims, _MAP_STRIDE, stride=_MAP_STRIDE)

    def forward(self, embedded: Tensor) -> Tensor:
        """Map the outputs of `embed`, row by row (B, H W, C), to (B, M, 2H, 2W)."""
        return self._map_of(self.transformer(embedded + self.positions))

    def code_tables(self, codebook: Tensor) -> "CodeTables":
        """Compute what depends on each code of the codebook (K, D) alone."""
        embedded, first = self.embed(codebook), self.transformer.layers[0]
        weight = (first.qkv.weight * first.norm1.weight).T

        def part(rows: Tensor) -> Tensor:
            return (rows - rows.mean(dim=-1, keepdim=True)) @ weight

        return CodeTables(embedded, part(embedded), part(self.positions), first.qkv.weight @ first.norm1.bias)

    def from_codes(self, codes: Tensor, tables: "CodeTables") -> Tensor:
        """Map codes, row by row (B, H W), to (B, M, 2H, 2W); not differentiable."""
        x, qkv = F.embedding(codes, tables.embedded) + self.positions, None
        if tables.codes_qkv is not None and len(codes):  # torch warns of the deviation of nothing
            variance = x.var(dim=-1, unbiased=False, keepdim=True)
            scale = (variance + self.transformer.layers[0].norm1.eps).rsqrt_()
            qkv = F.embedding(codes, tables.codes_qkv).add_(tables.positions_qkv).mul_(scale).add_(tables.qkv_bias)
        return self._map_of(self.transformer(x, qkv))

    def _map_of(self, x: Tensor) -> Tensor:
        return self.to_map(x.movedim(1, 2).unflatten(2, self.grid))


@dataclass(frozen=True)
class CodeTables:
    """Outputs of the conversion's first layers for each code and each position, to be looked up in a frozen network.

    The first block's norm subtracts the mean of code plus position, which is the sum of their means, and a linear layer
    of a sum is the sum of its parts: of norm and layer only the division by the deviation is left to do.

    Attributes:
        embedded: Embedded codes, (K, C).
        codes_qkv: Their part in the first block's queries, keys and values, (K, Q), before that division; or None.
        positions_qkv: The positions' part, (1, H W, Q).
        qkv_bias: Added after the division, (Q,).
    """

    embedded: Tensor
    codes_qkv: Tensor | None = None
    positions_qkv: Tensor | None = None
    qkv_bias: Tensor | None = None

    def to(self, dtype: torch.dtype) -> "CodeTables":
        """Return tables for a network of another type; in a shorter one the sum of parts is rounded too often."""
        return self if dtype == self.embedded.dtype else CodeTables(self.embedded.to(dtype))


class MapReversal(_GridTransformer):
    """g: a map of 2 x 2 positions per token to `out_dims` values per token: scores of K codes, or D values."""

    def __init__(self, map_dims: int, out_dims: int, grid: tuple[int, int], dims: int, **stack: int) -> None:
        super().__init__(grid, dims, **stack)
        self.from_map = nn.Conv2d(map_dims, dims, _MAP_STRIDE, stride=_MAP_STRIDE)
        self.head = nn.Linear(dims, out_dims)

    def features(self, maps: Tensor) -> Tensor:
        """Map (B, M, 2h, 2w) to the inputs of `head`, row by row, (B, h w, C)."""
        return self.transformer(self.from_map(maps).flatten(2).movedim(1, 2) + self.positions)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, M, 2h, 2w) to logits or values, (B, h, w, K or D)."""
        return self.head(self.features(maps)).unflatten(1, self.grid)


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"{name} must be one positive number of tokens or two (rows, columns), got {value}")
    return sides
