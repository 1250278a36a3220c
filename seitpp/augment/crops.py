"""Crops of whole batches: random resized crop of maps or of codes' embeddings (Token-RRC), and centre crop.

Crop-and-resize with bicubic interpolation is linear and separable, so a crop is two small weight matrices per sample,
and applying it two batched products. Interpolation clamps at the crop's edge, as resizing the cut-out crop does. A box
is drawn on a grid and holds for every resolution of the same images. Label maps are looked up, never interpolated.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.augment.base import Device, Generator, Grid, SpatialTransform
from seitpp.registry import TRANSFORMS

# Keys' cubic kernel with a = -0.75, the constant that torch and OpenCV use for bicubic interpolation.
_CUBIC_A = -0.75
# Maps of so many elements per thread (1 MiB of float32) stay in a CPU core's cache from one product to the next.
_CPU_CHUNK_ELEMENTS = 1 << 18
# Tries before the centred fallback crop, as in torchvision's RandomResizedCrop.
_TRIES = 10


@dataclass(frozen=True)
class CropBoxes:
    """A box per sample, on a grid that covers the image.

    Boxes are (top, left, height, width) in positions of the grid, (B, 4), int64, inside it.
    """

    boxes: Tensor
    grid: Grid


def sample_crop_boxes(
    batch_size: int,
    grid: Grid,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: Generator = None,
    device: Device = "cpu",
) -> Tensor:
    """Draw one random-resized-crop box per sample, all at once: (top, left, height, width), (B, 4), int64.

    `scale` is the range of the crop's share of the grid's area, `ratio` that of its width / height, whose logarithm is
    uniform.
    """
    draws = torch.rand(4, batch_size, _TRIES, generator=generator, device=device)
    area = scale[0] + (scale[1] - scale[0]) * draws[0]
    log_ratio = math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * draws[1]
    return crop_boxes_from_draws(area, log_ratio, draws[2, :, 0], draws[3, :, 0], grid, ratio)


def crop_boxes_from_draws(
    area: Tensor, log_ratio: Tensor, top: Tensor, left: Tensor, grid: Grid, ratio: tuple[float, float]
) -> Tensor:
    """Return the boxes that draws stand for: the first try that fits the grid, else a centred crop within `ratio`.

    `area` is the share of the grid's area at each try, (B, tries), in (0, 1], `log_ratio` the logarithm of width /
    height; `top` and `left` (B,) run from the first (0) to the last (1) possible position.
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


def _centred_box(grid: Grid, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    rows, columns = grid
    height, width = rows, columns
    if columns / rows < ratio[0]:
        height = round(columns / ratio[0])
    elif columns / rows > ratio[1]:
        width = round(rows * ratio[1])
    return (rows - height) // 2, (columns - width) // 2, height, width


def crop_weights(start: Tensor, length: Tensor, in_size: int, out_size: int, side: int | None = None) -> Tensor:
    """Return bicubic weights (B, out_size, in_size) that take an axis through the crop [start, start + length).

    Start and length (B,), int64, count on an axis of `side`, by default `in_size`; a crop that then begins or ends
    inside a position may read all of it, and none beyond. Each row sums to 1 and is zero outside the crop.
    """
    device, side = start.device, side or in_size
    # In whole numbers, of which a position of the axis spans `side`: a fraction would round at the crop's edges.
    begin, end = start * in_size, (start + length) * in_size
    first, last = begin // side, (end - 1) // side
    scale = (length * in_size / side) / out_size
    source = (torch.arange(out_size, device=device, dtype=torch.float32) + 0.5) * scale[:, None] - 0.5  # (B, out)
    source = source + (begin % side / side)[:, None]  # counted from the first position the crop overlaps
    floor = source.floor()
    taps = torch.arange(-1, 3, device=device)
    distance = (source - floor)[..., None] - taps  # (B, out, 4), to the taps floor - 1 ... floor + 2
    index = (floor.long()[..., None] + taps).clamp_(min=0)
    index = torch.minimum(index, (last - first)[:, None, None]) + first[:, None, None]
    weights = torch.zeros(start.shape[0], out_size, in_size, device=device)
    return weights.scatter_add_(2, index, _cubic_kernel(distance.abs()))


def _cubic_kernel(distance: Tensor) -> Tensor:
    near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance * distance + 1
    far = ((_CUBIC_A * distance - 5 * _CUBIC_A) * distance + 8 * _CUBIC_A) * distance - 4 * _CUBIC_A
    return torch.where(distance <= 1, near, far)


def crop_resize_codes(
    codes: Tensor,
    codebook: Tensor,
    boxes: Tensor,
    size: Grid,
    weights: Callable[..., Tensor] = crop_weights,
) -> Tensor:
    """Crop the embeddings of codes (B, H, W) by boxes (B, 4) and resize them, bicubic, to (B, *size, D).

    The codebook is (K, D); `weights` is `crop_weights`, or the same compiled.
    """

    def fetch(part: slice) -> Tensor:
        return F.embedding(codes[part].int(), codebook)

    return _crop_resize(fetch, (*codes.shape, codebook.shape[1]), codebook, boxes, size, codes.shape[1:], weights)


def crop_resize(
    maps: Tensor,
    boxes: Tensor,
    size: Grid,
    grid: Grid | None = None,
    weights: Callable[..., Tensor] = crop_weights,
) -> Tensor:
    """Crop each map (B, D, H, W) by its own box and resize it, bicubic, to (B, D, *size); differentiable.

    Computed in float32 at least, under autocast too: the 8 bits of bfloat16 are too few for a weight. Boxes lie on
    `grid` or, if None, on the map's own; `weights` are as for `crop_resize_codes`.
    """
    work = maps if maps.dtype in (torch.float32, torch.float64) else maps.float()
    work = work.permute(0, 2, 3, 1)
    resized = _crop_resize(
        lambda part: work[part].contiguous(), work.shape, work, boxes, size, grid or maps.shape[-2:], weights
    )
    return resized.permute(0, 3, 1, 2).to(maps.dtype)


def _crop_resize(
    fetch: Callable[[slice], Tensor],
    shape: Sequence[int],
    like: Tensor,
    boxes: Tensor,
    size: Grid,
    grid: Sequence[int],
    weights: Callable[..., Tensor],
) -> Tensor:
    """Multiply by the weights of rows and of columns, as many samples at a time as the device's cache likes.

    `fetch` gives the maps (b, H, W, D) of a slice of the batch, whose `shape` is (B, H, W, D); `like` has the dtype and
    device to compute in.
    """
    batch, rows, columns, channels = shape
    row_weights = weights(boxes[:, 0], boxes[:, 2], rows, size[0], grid[0]).to(like.dtype)
    column_weights = weights(boxes[:, 1], boxes[:, 3], columns, size[1], grid[1]).to(like.dtype)

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


def crop_labels(labels: Tensor, boxes: Tensor, size: Grid, grid: Grid | None = None) -> Tensor:
    """Crop label maps (B, h, w) and resize them to (B, *size), each position taking the label under its centre.

    Boxes lie on `grid` or, if None, on the label maps' own.
    """
    sides = grid or labels.shape[-2:]
    rows = _nearest_positions(boxes[:, 0], boxes[:, 2], labels.shape[1], size[0], sides[0])
    columns = _nearest_positions(boxes[:, 1], boxes[:, 3], labels.shape[2], size[1], sides[1])
    samples = torch.arange(len(labels), device=labels.device)
    return labels[samples[:, None, None], rows[:, :, None], columns[:, None, :]]


def _nearest_positions(start: Tensor, length: Tensor, in_size: int, out_size: int, side: int) -> Tensor:
    """Find the position under the centre of each one of the crop, (B, out_size); in whole numbers, so exact."""
    centres = 2 * out_size * start[:, None] + (2 * torch.arange(out_size, device=start.device) + 1) * length[:, None]
    return centres * in_size // (2 * out_size * side)


class _SizedCrop(SpatialTransform):
    """A crop to a `size` (height, width) that is counted in positions of what `transform` is given."""

    def __init__(self, size: int | Sequence[int], per_sample: bool = True) -> None:
        super().__init__(per_sample)
        self.size = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(self.size) != 2 or not all(isinstance(side, int) and side > 0 for side in self.size):
            raise ValueError(f"size must be one or two whole numbers of positions above 0, got {size}")

    def out_grid(self, grid: Grid) -> Grid:
        return self.size

    def size_on(self, maps: Tensor, grid: Grid) -> Grid:
        """Return the size of the result for maps (B, ..., H, W), when the crop was drawn for maps of `grid`."""
        wanted = [side * length for side, length in zip(self.size, maps.shape[-2:], strict=True)]
        if any(side % length for side, length in zip(wanted, grid, strict=True)):
            raise ValueError(
                f"a crop to {self.size[0]} x {self.size[1]} of {grid[0]} x {grid[1]} positions has no whole size on a "
                f"map of {maps.shape[-2]} x {maps.shape[-1]}; resize that map to a multiple of {grid[0]} x {grid[1]}"
            )
        return wanted[0] // grid[0], wanted[1] // grid[1]


@TRANSFORMS.register_module()
class BatchRandomResizedCrop(_SizedCrop):
    """Crop a random box of each sample and resize it with bicubic interpolation; label maps take the nearest label.

    Args:
        size: Height and width of the result, in positions of what `transform` is given (TokenAdapt's map: 56). On
            another resolution of the same images they are scaled with it.
        scale: Range of the crop's share of the map's area.
        ratio: Range of the crop's width / height.
    """

    compilable = ("_weights",)
    _weights = staticmethod(crop_weights)

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        per_sample: bool = True,
    ) -> None:
        super().__init__(size, per_sample)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale must satisfy 0 < low <= high <= 1, got {tuple(scale)}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio must satisfy 0 < low <= high, got {tuple(ratio)}")
        self.scale, self.ratio = tuple(scale), tuple(ratio)

    def draw(self, batch_size: int, grid: Grid, device: Device, generator: Generator) -> CropBoxes:
        return CropBoxes(sample_crop_boxes(batch_size, grid, self.scale, self.ratio, generator, device), grid)

    def apply(self, maps: Tensor, params: CropBoxes) -> Tensor:
        return crop_resize(maps, params.boxes, self.size_on(maps, params.grid), params.grid, self._weights)

    def apply_labels(self, labels: Tensor, params: CropBoxes) -> Tensor:
        return crop_labels(labels, params.boxes, self.size_on(labels, params.grid), params.grid)


@TRANSFORMS.register_module()
class TokenRRC(BatchRandomResizedCrop):
    """Token-RRC: random resized crop of the embeddings, bicubic, one box per sample (SeiT, Sec. 3.3).

    Equals cropping one-hot maps over the codebook and multiplying by it, at a small fraction of the work: both are the
    same linear map. Codes are embedded a few samples at a time, inside the crop.

    Required and modified key: `inputs`, codes (B, H, W) with `codebook` (K, D) beside them, or embeddings
    (B, D, H, W); becomes embeddings (B, D, *size). Label maps in `gt_sem_seg` are cropped alike. Options are those of
    `BatchRandomResizedCrop`, with the size in tokens.
    """

    def apply_codes(self, codes: Tensor, codebook: Tensor | None, params: CropBoxes) -> Tensor:
        if codebook is None or params.grid != tuple(codes.shape[-2:]):
            return super().apply_codes(codes, codebook, params)
        return crop_resize_codes(codes, codebook, params.boxes, self.size, self._weights).permute(0, 3, 1, 2)


@TRANSFORMS.register_module()
class BatchCenterCrop(_SizedCrop):
    """Cut the centre out, without resizing; codes stay codes.

    `size` is the height and width of the result, in positions of what `transform` is given.
    """

    on_codes = True

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__(size)

    def draw(self, batch_size: int, grid: Grid, device: Device, generator: Generator) -> CropBoxes:
        # Number by number: a copy to the device would wait for it.
        sides = [torch.full((batch_size,), side, device=device) for side in self._box(grid)]
        return CropBoxes(torch.stack(sides, dim=1), grid)

    def _box(self, grid: Grid) -> tuple[int, int, int, int]:
        (rows, columns), (height, width) = grid, self.size
        if rows < height or columns < width:
            raise ValueError(
                f"a map of {rows} x {columns} positions cannot be cropped to {height} x {width}; set a smaller size"
            )
        return (rows - height) // 2, (columns - width) // 2, height, width

    def apply(self, maps: Tensor, params: CropBoxes) -> Tensor:
        return self._cut(maps, params, crop_resize)

    def apply_labels(self, labels: Tensor, params: CropBoxes) -> Tensor:
        return self._cut(labels, params, crop_labels)

    def _cut(self, maps: Tensor, params: CropBoxes, resample: Callable[..., Tensor]) -> Tensor:
        """Return the box as a view; where it begins inside a position of this resolution, resample it."""
        shape, grid, (top, left, _, _) = tuple(maps.shape[-2:]), params.grid, self._box(params.grid)
        height, width = self.size_on(maps, grid)
        if top * shape[0] % grid[0] or left * shape[1] % grid[1]:
            return resample(maps, params.boxes, (height, width), grid)
        top, left = top * shape[0] // grid[0], left * shape[1] // grid[1]
        return maps[..., top : top + height, left : left + width]
