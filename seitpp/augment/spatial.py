"""Geometry as data: draw a batch's parameters once, then apply them to any map that covers the same image.

Crop-and-resize with bicubic interpolation is linear and separable, so a crop is two small weight matrices per sample,
and applying it two batched products. Interpolation clamps at the crop's edge, as resizing the cut-out crop does. Affine
maps are torchvision's, with a matrix for every sample. Parameters hold for every resolution: boxes lie on a lattice
that is named with them, translations are shares of the sides. Label maps are looked up, never interpolated.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Keys' cubic kernel with a = -0.75, the constant that torch and OpenCV use for bicubic interpolation.
_CUBIC_A = -0.75
# Maps of so many elements a thread (1 MiB of float32) stay in a CPU core's cache from one product to the next.
_CPU_CHUNK_ELEMENTS = 1 << 18
# Tries before the centred fallback crop, as in torchvision's RandomResizedCrop.
_TRIES = 10
# Stays a library's kernel where the rest of an affine map is compiled: on a CPU, inductor's takes twice as long.
_grid_sample = torch.compiler.disable(F.grid_sample)


@dataclass(frozen=True)
class CropBoxes:
    """A box per sample, on a lattice of rows x columns that covers the image.

    Attributes:
        boxes: (top, left, height, width) in places of the lattice, (B, 4), int64, inside it.
        places: Rows and columns of the lattice.
    """

    boxes: Tensor
    places: tuple[int, int]


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


def sample_crop_boxes(
    batch_size: int,
    grid: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw one random-resized-crop box per sample, all at once.

    Args:
        batch_size: Number of boxes B.
        grid: Height and width of the map.
        scale: Range of the crop's share of the map's area.
        ratio: Range of the crop's width / height; its logarithm is drawn uniformly.
        generator: Source of randomness; the device's default generator if None.
        device: Where to draw.

    Returns:
        Boxes (top, left, height, width), (B, 4), int64.
    """
    draws = torch.rand(4, batch_size, _TRIES, generator=generator, device=device)
    area = scale[0] + (scale[1] - scale[0]) * draws[0]
    log_ratio = math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * draws[1]
    return crop_boxes_from_draws(area, log_ratio, draws[2, :, 0], draws[3, :, 0], grid, ratio)


def crop_boxes_from_draws(
    area: Tensor, log_ratio: Tensor, top: Tensor, left: Tensor, grid: tuple[int, int], ratio: tuple[float, float]
) -> Tensor:
    """Boxes that given draws stand for: the first try that fits the map, else a centred crop.

    Args:
        area: Share of the map's area at each try, (B, tries), in (0, 1].
        log_ratio: Logarithm of width / height at each try, (B, tries).
        top: Where the box lies between the highest and the lowest possible place, (B,), in [0, 1).
        left: The same from left to right, (B,).
        grid: Height and width of the map.
        ratio: Range of width / height, for the fallback.

    Returns:
        Boxes (top, left, height, width), (B, 4), int64.
    """
    rows, columns = grid
    target, aspect = rows * columns * area.double(), log_ratio.double().exp()
    widths = (target * aspect).sqrt().round().long()
    heights = (target / aspect).sqrt().round().long()
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    accepted = fits.any(dim=1)
    first = fits.int().argmax(dim=1, keepdim=True)  # 0 where no try fits; replaced by the fallback below
    height, width = heights.gather(1, first).squeeze(1), widths.gather(1, first).squeeze(1)
    drawn_top = (top.double() * (rows - height + 1)).long()
    drawn_left = (left.double() * (columns - width + 1)).long()
    drawn = (drawn_top, drawn_left, height, width)
    # Number by number: a tensor of the fallback would be a copy to the device, which waits for it.
    return torch.stack(
        [torch.where(accepted, value, other) for value, other in zip(drawn, _centred_box(grid, ratio), strict=True)],
        dim=1,
    )


def _centred_box(grid: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    rows, columns = grid
    height, width = rows, columns
    if columns / rows < ratio[0]:
        height = round(columns / ratio[0])
    elif columns / rows > ratio[1]:
        width = round(rows * ratio[1])
    return (rows - height) // 2, (columns - width) // 2, height, width


def crop_weights(start: Tensor, length: Tensor, in_size: int, out_size: int, places: int | None = None) -> Tensor:
    """Bicubic weights that take one axis of `in_size` to `out_size` through the crop [start, start + length).

    Args:
        start: First place inside the crop, (B,), int64.
        length: Places inside the crop, (B,), int64, at least 1.
        in_size: Length of the axis before.
        out_size: Length of the axis after.
        places: Length of the lattice that `start` and `length` count on; `in_size` if None. A crop that then begins or
            ends inside a place of the axis may read all of that place, and none beyond.

    Returns:
        Weights, (B, out_size, in_size), float32; each row sums to 1 and is zero outside the crop.
    """
    device, lattice = start.device, places or in_size
    # In whole numbers, of which one place of the axis has `lattice`: a fraction would round at the crop's edges.
    begin, end = start * in_size, (start + length) * in_size
    first, last = begin // lattice, (end - 1) // lattice
    scale = (length * in_size / lattice) / out_size
    places_in = (torch.arange(out_size, device=device, dtype=torch.float32) + 0.5) * scale[:, None] - 0.5  # (B, out)
    places_in = places_in + (begin % lattice / lattice)[:, None]  # counted from the first place the crop overlaps
    floor = places_in.floor()
    taps = torch.arange(-1, 3, device=device)
    distance = (places_in - floor)[..., None] - taps  # (B, out, 4), to the taps floor - 1 ... floor + 2
    index = (floor.long()[..., None] + taps).clamp_(min=0)
    index = torch.minimum(index, (last - first)[:, None, None]) + first[:, None, None]
    weights = torch.zeros(start.shape[0], out_size, in_size, device=device)
    return weights.scatter_add_(2, index, _cubic_kernel(distance.abs()))


def _cubic_kernel(distance: Tensor) -> Tensor:
    """Keys' kernel at a non-negative distance below 2."""
    near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance * distance + 1
    far = ((_CUBIC_A * distance - 5 * _CUBIC_A) * distance + 8 * _CUBIC_A) * distance - 4 * _CUBIC_A
    return torch.where(distance <= 1, near, far)


def crop_resize_codes(
    codes: Tensor,
    codebook: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    weights: Callable[..., Tensor] = crop_weights,
) -> Tensor:
    """Crop the embeddings of each code grid by its own box and resize them with bicubic interpolation.

    Args:
        codes: (B, H, W), any integer type.
        codebook: (K, D).
        boxes: (top, left, height, width) a grid, (B, 4), int64, inside the grid.
        size: Height and width of the result.
        weights: `crop_weights`, or the same compiled.

    Returns:
        (B, size[0], size[1], D).
    """
    shape = (*codes.shape, codebook.shape[1])
    return _crop_resize(
        lambda part: F.embedding(codes[part].int(), codebook), shape, codebook, boxes, size, weights=weights
    )


def crop_resize(
    maps: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    places: tuple[int, int] | None = None,
    weights: Callable[..., Tensor] = crop_weights,
) -> Tensor:
    """Crop each map (B, D, H, W) by its own box and resize it with bicubic interpolation, to (B, D, *size).

    Differentiable in `maps`, and computed in float32 at least, under autocast too. See `crop_resize_codes` for the
    boxes, which lie on a lattice of `places` (rows, columns) or, if None, on the map's own, and for `weights`.
    """
    channels_last = _float32_at_least(maps).permute(0, 2, 3, 1)
    resized = _crop_resize(
        lambda part: channels_last[part].contiguous(), channels_last.shape, channels_last, boxes, size, places, weights
    )
    return resized.permute(0, 3, 1, 2).to(maps.dtype)


def _float32_at_least(maps: Tensor) -> Tensor:
    """Maps to interpolate: the 8 bits of bfloat16 are too few for a weight."""
    return maps if maps.dtype in (torch.float32, torch.float64) else maps.float()


def crop_labels(labels: Tensor, boxes: Tensor, size: tuple[int, int], places: tuple[int, int] | None = None) -> Tensor:
    """Crop each label map (B, h, w) by its own box and resize it, each place taking the label under its centre.

    Args:
        labels: Any integer type.
        boxes: As for `crop_resize`.
        size: Height and width of the result.
        places: As for `crop_resize`.

    Returns:
        (B, *size), of the type of `labels`.
    """
    lattice = places or tuple(labels.shape[-2:])
    rows = _nearest_places(boxes[:, 0], boxes[:, 2], labels.shape[1], size[0], lattice[0])
    columns = _nearest_places(boxes[:, 1], boxes[:, 3], labels.shape[2], size[1], lattice[1])
    samples = torch.arange(len(labels), device=labels.device)
    return labels[samples[:, None, None], rows[:, :, None], columns[:, None, :]]


def _nearest_places(start: Tensor, length: Tensor, in_size: int, out_size: int, lattice: int) -> Tensor:
    """Place of an axis under the centre of each place of the crop, (B, out_size); in whole numbers, so exact."""
    centres = 2 * out_size * start[:, None] + (2 * torch.arange(out_size, device=start.device) + 1) * length[:, None]
    return centres * in_size // (2 * out_size * lattice)


def _crop_resize(
    fetch: Callable[[slice], Tensor],
    shape: Sequence[int],
    like: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    places: tuple[int, int] | None = None,
    weights: Callable[..., Tensor] = crop_weights,
) -> Tensor:
    """Two batched products, on as many samples at a time as the device's cache likes.

    Args:
        fetch: Gives the maps (b, H, W, D) of a slice of the batch.
        shape: (B, H, W, D).
        like: A tensor of the dtype and device to compute in.
        boxes: (B, 4).
        size: Height and width of the result.
        places: Rows and columns of the lattice that boxes lie on; the maps' own if None.
        weights: `crop_weights`, or the same compiled.
    """
    batch, rows, columns, channels = shape
    lattice = places or (rows, columns)
    row_weights = weights(boxes[:, 0], boxes[:, 2], rows, size[0], lattice[0]).to(like.dtype)
    column_weights = weights(boxes[:, 1], boxes[:, 3], columns, size[1], lattice[1]).to(like.dtype)

    def crop(part: slice) -> tuple[Tensor, Tensor]:
        wide = torch.matmul(column_weights[part, None], fetch(part))  # (b, H, size[1], D)
        return row_weights[part], wide.flatten(2)

    with torch.autocast(like.device.type, enabled=False):
        if like.device.type != "cpu" or (torch.is_grad_enabled() and like.requires_grad):
            return torch.bmm(*crop(slice(None))).view(batch, *size, channels)
        # One product of the whole batch would leave the cache between the two steps.
        step = max(1, _CPU_CHUNK_ELEMENTS * torch.get_num_threads() // (rows * columns * channels))
        out = torch.empty(batch, size[0], size[1] * channels, dtype=like.dtype)
        for start in range(0, batch, step):
            part = slice(start, start + step)
            torch.bmm(*crop(part), out=out[part])
        return out.view(batch, *size, channels)


def flip_maps(maps: Tensor, flips: Flips) -> Tensor:
    """Mirror the chosen samples of codes, label maps (B, h, w) or maps (B, C, H, W) left to right, exactly."""
    return torch.where(_over(flips.flipped, maps), maps.flip(-1), maps)


def _over(values: Tensor, maps: Tensor) -> Tensor:
    """One value per sample, (B,), in a shape that broadcasts over `maps` (B, ...)."""
    return values.view(-1, *[1] * (maps.ndim - 1))


def affine_maps(maps: Tensor, affines: Affines, fill: float | None = 0.0) -> Tensor:
    """Move each map by its own affine map, with bilinear interpolation; unmoved samples stay as they are to the bit.

    Equals `torchvision.transforms.functional.affine` of each sample with bilinear interpolation and the same `fill`.

    Args:
        maps: (B, C, H, W), floating point; computed in float32 at least.
        affines: One map per sample, at any resolution.
        fill: Value outside. As in torchvision, a place at the border, of which interpolation finds the share m inside
            (with zeros outside), becomes m times that plus (1 - m) times `fill`; None leaves what interpolation found.

    Returns:
        (B, C, H, W), of the type of `maps`.
    """
    rows, columns = maps.shape[-2:]
    work = _float32_at_least(maps)
    x, y = _source_places(affines, rows, columns, work.dtype)
    # Measured in halves of the sides from the centre, as grid_sample wants it.
    grid = torch.stack([x * (2 / columns), y * (2 / rows)], dim=-1)
    moved = _grid_sample(work, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if fill is not None:
        inside = (_share_inside(x, columns) * _share_inside(y, rows))[:, None]
        moved.mul_(inside)
        if fill != 0:
            moved.add_((1 - inside) * fill)
    return torch.where(_over(_unmoved(affines), maps), maps, moved.to(maps.dtype))


def affine_nearest(maps: Tensor, affines: Affines, fill: float) -> Tensor:
    """Move each map or label map by its own affine map, each place taking the nearest value: nothing is blended.

    Args:
        maps: (B, h, w) or (B, C, h, w), any type.
        affines: One map per sample, at any resolution.
        fill: Value outside.

    Returns:
        Of the shape and type of `maps`.
    """
    rows, columns = maps.shape[-2:]
    x, y = _source_places(affines, rows, columns, torch.float32)
    column, row = (x + (columns - 1) / 2).round().long(), (y + (rows - 1) / 2).round().long()
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    index = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    if maps.ndim == 4:
        inside, index = inside[:, None], index[:, None]
    moved = maps.flatten(-2).gather(-1, index.flatten(-2).expand(*maps.shape[:-2], -1)).view(maps.shape)
    return torch.where(inside, moved, fill)


def inverse_matrices(affines: Affines, rows: int, columns: int) -> Tensor:
    """Matrices that give, for a place of the result, the place it comes from.

    Angles act on pixels, whatever the aspect ratio: places are measured in pixels from the image's centre, x right and
    y down.

    Args:
        affines: One map per sample.
        rows: Height of the map.
        columns: Width of the map.

    Returns:
        (B, 2, 3), float64: (x, y) = matrix @ (x', y', 1).
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


def _source_places(affines: Affines, rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Where each place comes from, in pixels from the centre: x and y, (B, rows, columns)."""
    matrices = inverse_matrices(affines, rows, columns).to(dtype)[..., None, None]
    x = torch.arange(columns, device=matrices.device, dtype=dtype) - (columns - 1) / 2
    y = (torch.arange(rows, device=matrices.device, dtype=dtype) - (rows - 1) / 2)[:, None]
    # Written out: a matrix product might run in TF32, whose 10 bits are too few for a place.
    x, y = [matrices[:, axis, 0] * x + matrices[:, axis, 1] * y + matrices[:, axis, 2] for axis in range(2)]
    return x, y


def _share_inside(places: Tensor, size: int) -> Tensor:
    """Share of linear interpolation's weight that falls on an axis of `size`, at places measured from its centre."""
    return (size / 2 + 0.5 - places.abs()).clamp(0, 1)


def _unmoved(affines: Affines) -> Tensor:
    """Samples whose affine map is the identity, (B,), bool."""
    moves = torch.cat([affines.angle[:, None], affines.translate, affines.scale[:, None] - 1, affines.shear], dim=1)
    return (moves == 0).all(dim=1)
