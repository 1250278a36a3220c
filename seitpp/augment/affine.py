"""Flips and affine maps of whole batches: embeddings, TokenAdapt's map, pixels, label maps.

On tokens alone these break what a token holds (SeiT++, Sec. 3.3, Fig. 3); TokenAdapt runs them on its map. Affine maps
are torchvision's, with a matrix per sample; translations are shares of the sides, so that a draw holds for every
resolution. Label maps are looked up, never interpolated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.augment.base import Device, Generator, Grid, SpatialTransform, check_probability
from seitpp.registry import TRANSFORMS

# Stays a library's kernel where the rest of an affine map is compiled: on a CPU, inductor's takes twice as long.
_grid_sample = torch.compiler.disable(F.grid_sample)


@dataclass(frozen=True)
class Flips:
    """Which samples are mirrored left to right: `flipped` (B,), bool."""

    flipped: Tensor


@dataclass(frozen=True)
class Affines:
    """An affine map per sample about the centre of the image, in torchvision's order: shear, rotate, scale, translate.

    Attributes:
        angle: Degrees, (B,), float; positive turns clockwise on the screen.
        translate: Shares of width (x) and height (y), (B, 2); positive moves right and down.
        scale: Factor above 0, (B,).
        shear: Degrees along x and along y, (B, 2), each between -90 and 90.
    """

    angle: Tensor
    translate: Tensor
    scale: Tensor
    shear: Tensor


def flip_maps(maps: Tensor, flips: Flips) -> Tensor:
    """Mirror the chosen samples of codes, label maps (B, h, w) or maps (B, C, H, W) left to right, exactly."""
    return torch.where(_over(flips.flipped, maps), maps.flip(-1), maps)


def _over(values: Tensor, maps: Tensor) -> Tensor:
    return values.view(-1, *[1] * (maps.ndim - 1))


def affine_maps(maps: Tensor, affines: Affines, fill: float | None = 0.0) -> Tensor:
    """Move each map (B, C, H, W) by its own affine map, bilinearly; unmoved samples stay as they are to the bit.

    Equals `torchvision.transforms.functional.affine` of each sample with the same `fill`; float32 at least.

    `fill` is the value outside: a position at the border, of which interpolation finds the share m inside (with zeros
    outside), becomes m times that plus (1 - m) times `fill`. None leaves what interpolation found.
    """
    rows, columns = maps.shape[-2:]
    work = maps if maps.dtype in (torch.float32, torch.float64) else maps.float()
    x, y = _source_positions(affines, rows, columns, work.dtype)
    # Measured in halves of the sides from the centre, as grid_sample wants it.
    grid = torch.stack([x * (2 / columns), y * (2 / rows)], dim=-1)
    moved = _grid_sample(work, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if fill is not None:
        inside = (_share_inside(x, columns) * _share_inside(y, rows))[:, None]
        moved.mul_(inside)
        if fill != 0:
            moved.add_((1 - inside) * fill)
    moves = torch.cat([affines.angle[:, None], affines.translate, affines.scale[:, None] - 1, affines.shear], dim=1)
    return torch.where(_over((moves == 0).all(dim=1), maps), maps, moved.to(maps.dtype))


def affine_nearest(maps: Tensor, affines: Affines, fill: float) -> Tensor:
    """Move maps (B, C, h, w) or label maps (B, h, w) of any type, nearest, with `fill` outside: nothing is blended."""
    rows, columns = maps.shape[-2:]
    x, y = _source_positions(affines, rows, columns, torch.float32)
    column, row = (x + (columns - 1) / 2).round().long(), (y + (rows - 1) / 2).round().long()
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    index = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    if maps.ndim == 4:
        inside, index = inside[:, None], index[:, None]
    moved = maps.flatten(-2).gather(-1, index.flatten(-2).expand(*maps.shape[:-2], -1)).view(maps.shape)
    return torch.where(inside, moved, fill)


def inverse_matrices(affines: Affines, rows: int, columns: int) -> Tensor:
    """Return matrices (B, 2, 3), float64, to the position that each position comes from: (x, y) = M @ (x', y', 1).

    Angles act on pixels, whatever the aspect ratio: positions are measured in pixels from the image's centre, x right
    and y down.
    """
    angle, shear = affines.angle.double().deg2rad(), affines.shear.double().deg2rad().tan()
    along_x = torch.stack([angle.cos(), angle.sin()], dim=-1)  # back from the rotation, first row
    along_y = torch.stack([-angle.sin(), angle.cos()], dim=-1)
    along_y = along_y + shear[:, 1:] * along_x  # then back from the shear along y, then along x
    along_x = along_x + shear[:, :1] * along_y
    linear = torch.stack([along_x, along_y], dim=1) / affines.scale.double()[:, None, None]  # (B, 2, 2)
    moved_x, moved_y = affines.translate[:, 0].double() * columns, affines.translate[:, 1].double() * rows
    offset = -(linear[..., 0] * moved_x[:, None] + linear[..., 1] * moved_y[:, None])
    return torch.cat([linear, offset[..., None]], dim=-1)


def _source_positions(affines: Affines, rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return where each position comes from, in pixels from the centre: x and y, (B, rows, columns)."""
    matrices = inverse_matrices(affines, rows, columns).to(dtype)[..., None, None]
    x = torch.arange(columns, device=matrices.device, dtype=dtype) - (columns - 1) / 2
    y = (torch.arange(rows, device=matrices.device, dtype=dtype) - (rows - 1) / 2)[:, None]
    # Written out: a matrix product might run in TF32, whose 10 bits are too few for a position.
    x, y = [matrices[:, axis, 0] * x + matrices[:, axis, 1] * y + matrices[:, axis, 2] for axis in range(2)]
    return x, y


def _share_inside(positions: Tensor, size: int) -> Tensor:
    """Return the share of linear interpolation's weight that falls on an axis of `size`, from its centre."""
    return (size / 2 + 0.5 - positions.abs()).clamp(0, 1)


@TRANSFORMS.register_module()
class BatchRandomFlip(SpatialTransform):
    """Mirror left to right. Codes change positions and stay the codes they are.

    Args:
        prob: Probability of a sample to be mirrored.
        per_sample: Whether each sample has its own draw.
    """

    on_codes = True
    compilable = ("apply",)

    def __init__(self, prob: float = 0.5, per_sample: bool = True) -> None:
        super().__init__(per_sample)
        self.prob = check_probability("prob", prob)

    def draw(self, batch_size: int, grid: Grid, device: Device, generator: Generator) -> Flips:
        return Flips(torch.rand(batch_size, generator=generator, device=device) < self.prob)

    def apply(self, maps: Tensor, params: Flips) -> Tensor:
        return flip_maps(maps, params)

    def apply_labels(self, labels: Tensor, params: Flips) -> Tensor:
        return flip_maps(labels, params)


@TRANSFORMS.register_module()
class BatchRandomAffine(SpatialTransform):
    """Rotate, translate, shear and scale about the centre, as torchvision's `affine` does.

    Rotation, translation and shear along x and along y, and scale are six parts that act or not independently; each is
    uniform in its range.

    Args:
        degrees: Largest rotation to either side, in degrees.
        translate: Largest translation to either side, as a share of width and height, or the two shares (x, y); not
            rounded to whole positions.
        shear: Largest shear to either side, in degrees, along x and along y; or the range (low, high) of shears along x
            alone; or the ranges along x and y, (x low, x high, y low, y high), as torchvision takes them.
        scale: Range of the scale.
        part_prob: Probability of each part to act in a sample that is transformed.
        prob: Probability of a sample to be transformed at all.
        fill: Value outside the image, blended in as `affine_maps` says; None, too, leaves zeros outside.
        interpolation: `bilinear` or `nearest`; label maps are always `nearest`.
        ignore_index: Label outside the image.
    """

    compilable = ("apply",)

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float | Sequence[float] = 0.0,
        shear: float | Sequence[float] = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        part_prob: float = 1.0,
        prob: float = 1.0,
        fill: float | None = 0.0,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
        ignore_index: int = 255,
        per_sample: bool = True,
    ) -> None:
        super().__init__(per_sample)
        if not 0 <= degrees <= 180:
            raise ValueError(f"degrees must be the largest rotation, in [0, 180], got {degrees}")
        self.translate, self.shear = _shares(translate), _shear_ranges(shear)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] < math.inf:
            raise ValueError(f"scale must be a range (low, high) with 0 < low <= high, finite, got {tuple(scale)}")
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"interpolation must be 'bilinear' or 'nearest', got {interpolation!r}")
        self.degrees, self.scale = degrees, tuple(scale)
        self.part_prob, self.prob = check_probability("part_prob", part_prob), check_probability("prob", prob)
        self.fill, self.interpolation, self.ignore_index = fill, interpolation, ignore_index

    def draw(self, batch_size: int, grid: Grid, device: Device, generator: Generator) -> Affines:
        values, acts = torch.rand(2, 6, batch_size, generator=generator, device=device)
        moved = torch.rand(batch_size, generator=generator, device=device) < self.prob
        acts = (acts < self.part_prob) & moved
        ranges = [(-side, side) for side in (self.degrees, *self.translate)]
        ranges += [self.shear[:2], self.shear[2:]]
        angle, move_x, move_y, shear_x, shear_y = [
            torch.where(act, low + (high - low) * value, 0.0)
            for act, (low, high), value in zip(acts[:5], ranges, values[:5], strict=True)
        ]
        scale = torch.where(acts[5], self.scale[0] + (self.scale[1] - self.scale[0]) * values[5], 1.0)
        return Affines(angle, torch.stack([move_x, move_y], dim=1), scale, torch.stack([shear_x, shear_y], dim=1))

    def apply(self, maps: Tensor, params: Affines) -> Tensor:
        if self.interpolation == "nearest":
            return affine_nearest(maps, params, self.fill or 0.0)
        return affine_maps(maps, params, self.fill)

    def apply_labels(self, labels: Tensor, params: Affines) -> Tensor:
        limits = torch.iinfo(labels.dtype)
        if not limits.min <= self.ignore_index <= limits.max:
            raise ValueError(
                f"ignore_index is {self.ignore_index}, but label maps are {labels.dtype}, from {limits.min} to "
                f"{limits.max}; set it to one of these, or give label maps of a wider type"
            )
        return affine_nearest(labels, params, self.ignore_index)


def _shares(translate: float | Sequence[float]) -> tuple[float, float]:
    shares = tuple(translate) if isinstance(translate, Sequence) else (translate, translate)
    if len(shares) != 2 or not all(_is_number(share) and 0 <= share <= 1 for share in shares):
        raise ValueError(f"translate must be a share of the side, in [0, 1], or two, for x and y, got {translate!r}")
    return shares


def _shear_ranges(shear: float | Sequence[float]) -> tuple[float, float, float, float]:
    """Return the ranges of shears in degrees: x low, x high, y low, y high."""
    if not isinstance(shear, Sequence):
        if not (_is_number(shear) and 0 <= shear < 90):
            raise ValueError(f"shear must be the largest angle in degrees, in [0, 90), or a range, got {shear!r}")
        return (-shear, shear, -shear, shear)
    ranges = (*shear, 0.0, 0.0) if len(shear) == 2 else tuple(shear)
    four = len(ranges) == 4 and all(map(_is_number, ranges))
    if not four or not all(-90 < low <= high < 90 for low, high in (ranges[:2], ranges[2:])):
        raise ValueError(
            "shear must be one angle in degrees, a range (low, high) along x, or two ranges (x low, x high, y low, "
            f"y high), each low <= high and between -90 and 90, got {tuple(shear)}"
        )
    return ranges


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
