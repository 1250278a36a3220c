"""Geometry as data: draw a batch's parameters once, then apply them to any map that covers the same image.

Crop-and-resize with bicubic interpolation is linear and separable, so a crop is two small weight matrices a sample and
applying it two batched products. Interpolation clamps at the crop's edge, as resizing the cut-out crop does.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Keys' cubic kernel with a = -0.75, the constant that torch and OpenCV use for bicubic interpolation.
_CUBIC_A = -0.75
# Maps of so many elements a thread (1 MiB of float32) stay in a CPU core's cache from one product to the next.
_CPU_CHUNK_ELEMENTS = 1 << 18
# Tries before the centred fallback crop, as in torchvision's RandomResizedCrop.
_TRIES = 10


def sample_crop_boxes(
    batch_size: int,
    grid: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw one random-resized-crop box a sample, all at once.

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


def crop_weights(start: Tensor, length: Tensor, in_size: int, out_size: int) -> Tensor:
    """Bicubic weights that take one axis of `in_size` to `out_size` through the crop [start, start + length).

    Args:
        start: First place inside the crop, (B,), int64.
        length: Places inside the crop, (B,), int64, at least 1.
        in_size: Length of the axis before.
        out_size: Length of the axis after.

    Returns:
        Weights, (B, out_size, in_size), float32; each row sums to 1 and is zero outside the crop.
    """
    device = start.device
    scale = length.float() / out_size
    places = (torch.arange(out_size, device=device, dtype=torch.float32) + 0.5) * scale[:, None] - 0.5  # (B, out)
    floor = places.floor()
    taps = torch.arange(-1, 3, device=device)
    distance = (places - floor)[..., None] - taps  # (B, out, 4), to the taps floor - 1 ... floor + 2
    index = (floor.long()[..., None] + taps).clamp_(min=0)
    index = torch.minimum(index, (length - 1)[:, None, None]) + start[:, None, None]
    weights = torch.zeros(start.shape[0], out_size, in_size, device=device)
    return weights.scatter_add_(2, index, _cubic_kernel(distance.abs()))


def _cubic_kernel(distance: Tensor) -> Tensor:
    """Keys' kernel at a non-negative distance below 2."""
    near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance * distance + 1
    far = ((_CUBIC_A * distance - 5 * _CUBIC_A) * distance + 8 * _CUBIC_A) * distance - 4 * _CUBIC_A
    return torch.where(distance <= 1, near, far)


def crop_resize_codes(codes: Tensor, codebook: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop the embeddings of each code grid by its own box and resize them with bicubic interpolation.

    Args:
        codes: (B, H, W), any integer type.
        codebook: (K, D).
        boxes: (top, left, height, width) a grid, (B, 4), int64, inside the grid.
        size: Height and width of the result.

    Returns:
        (B, size[0], size[1], D).
    """
    shape = (*codes.shape, codebook.shape[1])
    return _crop_resize(lambda part: F.embedding(codes[part].int(), codebook), shape, codebook, boxes, size)


def crop_resize(maps: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop each map (B, D, H, W) by its own box and resize it with bicubic interpolation, to (B, D, *size).

    Differentiable in `maps`. See `crop_resize_codes` for the boxes.
    """
    channels_last = maps.permute(0, 2, 3, 1)
    resized = _crop_resize(lambda part: channels_last[part].contiguous(), channels_last.shape, maps, boxes, size)
    return resized.permute(0, 3, 1, 2)


def _crop_resize(
    fetch: Callable[[slice], Tensor], shape: Sequence[int], like: Tensor, boxes: Tensor, size: tuple[int, int]
) -> Tensor:
    """Two batched products, on as many samples at a time as the device's cache likes.

    Args:
        fetch: Gives the maps (b, H, W, D) of a slice of the batch.
        shape: (B, H, W, D).
        like: A tensor of the dtype and device to compute in.
        boxes: (B, 4).
        size: Height and width of the result.
    """
    batch, rows, columns, channels = shape
    row_weights = crop_weights(boxes[:, 0], boxes[:, 2], rows, size[0]).to(like.dtype)
    column_weights = crop_weights(boxes[:, 1], boxes[:, 3], columns, size[1]).to(like.dtype)

    def crop(part: slice) -> tuple[Tensor, Tensor]:
        wide = torch.matmul(column_weights[part, None], fetch(part))  # (b, H, size[1], D)
        return row_weights[part], wide.flatten(2)

    if like.device.type != "cpu" or (torch.is_grad_enabled() and like.requires_grad):
        return torch.bmm(*crop(slice(None))).view(batch, *size, channels)
    # One product of the whole batch would leave the cache between the two steps.
    step = max(1, _CPU_CHUNK_ELEMENTS * torch.get_num_threads() // (rows * columns * channels))
    out = torch.empty(batch, size[0], size[1] * channels, dtype=like.dtype)
    for start in range(0, batch, step):
        part = slice(start, start + step)
        torch.bmm(*crop(part), out=out[part])
    return out.view(batch, *size, channels)
