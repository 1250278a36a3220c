"""Flip, affine, random resized crop and centre crop of whole batches: embeddings, TokenAdapt's map, pixels, label maps.

On tokens alone these break what a token holds (SeiT++, Sec. 3.3, Fig. 3); TokenAdapt runs them on its map.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from seitpp.augment.base import BatchTransform, check_probability
from seitpp.augment.spatial import (
    Affines,
    CropBoxes,
    Flips,
    affine_maps,
    affine_nearest,
    crop_labels,
    crop_resize,
    crop_weights,
    flip_maps,
    sample_crop_boxes,
)
from seitpp.registry import TRANSFORMS
from seitpp.structures.draws import tensors_of, with_tensors


class GeometricTransform(BatchTransform):
    """A transform that moves places, with one draw per sample, or one for the whole batch as the authors' code does.

    Args:
        per_sample: Whether each sample has its own draw.
    """

    def __init__(self, per_sample: bool = True) -> None:
        self.per_sample = per_sample

    @abstractmethod
    def draw(
        self, batch_size: int, places: tuple[int, int], device: torch.device | str, generator: torch.Generator | None
    ) -> Any:
        """One draw for each of `batch_size` samples; see `sample`."""

    def sample(
        self,
        batch_size: int,
        places: tuple[int, int],
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Any:
        """Draw for a batch; see `BatchTransform`."""
        if self.per_sample:
            return self.draw(batch_size, places, device, generator)
        return _repeated(self.draw(1, places, device, generator), batch_size)


def _repeated(params: Any, batch_size: int) -> Any:
    """The draw of one sample as that of `batch_size` samples."""
    drawn = tensors_of(params)
    return with_tensors(params, {name: value.expand(batch_size, *value.shape[1:]) for name, value in drawn.items()})


@TRANSFORMS.register_module()
class BatchRandomFlip(GeometricTransform):
    """Mirror left to right. Codes change places and stay the codes they are.

    Args:
        prob: Probability of a sample to be mirrored.
        per_sample: Whether each sample has its own draw.
    """

    on_codes = True
    compilable = ("apply",)

    def __init__(self, prob: float = 0.5, per_sample: bool = True) -> None:
        super().__init__(per_sample)
        self.prob = check_probability("prob", prob)

    def draw(
        self, batch_size: int, places: tuple[int, int], device: torch.device | str, generator: torch.Generator | None
    ) -> Flips:
        """Whom to mirror."""
        return Flips(torch.rand(batch_size, generator=generator, device=device) < self.prob)

    def apply(self, maps: Tensor, params: Flips) -> Tensor:
        """Mirror codes (B, H, W) or maps (B, C, H, W)."""
        return flip_maps(maps, params)

    def apply_labels(self, labels: Tensor, params: Flips) -> Tensor:
        """Mirror label maps (B, h, w)."""
        return flip_maps(labels, params)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prob={self.prob}, per_sample={self.per_sample})"


@TRANSFORMS.register_module()
class BatchRandomAffine(GeometricTransform):
    """Rotate, translate, shear and scale about the centre, as torchvision's `affine` does.

    Rotation, translation and shear along x and along y, and scale are six parts that act or not independently; each is
    uniform in its range.

    Args:
        degrees: Largest rotation to either side, in degrees.
        translate: Largest translation to either side, as a share of width and height, or the two shares (x, y); not
            rounded to whole places.
        shear: Largest shear to either side, in degrees, along x and along y; or the range (low, high) of shears along x
            alone; or the ranges along x and y, (x low, x high, y low, y high), as torchvision takes them.
        scale: Range of the scale.
        part_prob: Probability of each part to act in a sample that is transformed.
        prob: Probability of a sample to be transformed at all.
        fill: Value outside the image, blended in as `affine_maps` says; None, too, leaves zeros outside.
        interpolation: `bilinear` or `nearest`; label maps are always `nearest`.
        ignore_index: Label outside the image.
        per_sample: Whether each sample has its own draw.
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

    def draw(
        self, batch_size: int, places: tuple[int, int], device: torch.device | str, generator: torch.Generator | None
    ) -> Affines:
        """The six parts of every sample."""
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
        """Move maps (B, C, H, W)."""
        if self.interpolation == "nearest":
            return affine_nearest(maps, params, self.fill or 0.0)
        return affine_maps(maps, params, self.fill)

    def apply_labels(self, labels: Tensor, params: Affines) -> Tensor:
        """Move label maps (B, h, w) to the nearest place; `ignore_index` outside.

        Raises:
            ValueError: `ignore_index` is no number of their type, in which it would stand for a class.
        """
        limits = torch.iinfo(labels.dtype)
        if not limits.min <= self.ignore_index <= limits.max:
            raise ValueError(
                f"ignore_index is {self.ignore_index}, but label maps are {labels.dtype}, from {limits.min} to "
                f"{limits.max}; set it to one of these, or give label maps of a wider type"
            )
        return affine_nearest(labels, params, self.ignore_index)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(degrees={self.degrees}, translate={self.translate}, shear={self.shear}, "
            f"scale={self.scale}, part_prob={self.part_prob}, prob={self.prob}, fill={self.fill}, "
            f"interpolation={self.interpolation!r}, ignore_index={self.ignore_index}, per_sample={self.per_sample})"
        )


def _shares(translate: float | Sequence[float]) -> tuple[float, float]:
    """Largest translations along x and y, as shares of the side."""
    shares = tuple(translate) if isinstance(translate, Sequence) else (translate, translate)
    if len(shares) != 2 or not all(_is_number(share) and 0 <= share <= 1 for share in shares):
        raise ValueError(f"translate must be a share of the side, in [0, 1], or two, for x and y, got {translate!r}")
    return shares


def _shear_ranges(shear: float | Sequence[float]) -> tuple[float, float, float, float]:
    """Ranges of shears in degrees: x low, x high, y low, y high."""
    if not isinstance(shear, Sequence):
        if not (_is_number(shear) and 0 <= shear < 90):
            raise ValueError(f"shear must be the largest angle in degrees, in [0, 90), or a range, got {shear!r}")
        return (-shear, shear, -shear, shear)
    ranges = (*shear, 0.0, 0.0) if len(shear) == 2 else tuple(shear)
    if not (len(ranges) == 4 and all(map(_is_number, ranges)) and _ordered(*ranges[:2]) and _ordered(*ranges[2:])):
        raise ValueError(
            "shear must be one angle in degrees, a range (low, high) along x, or two ranges (x low, x high, y low, "
            f"y high), each low <= high and between -90 and 90, got {tuple(shear)}"
        )
    return ranges


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ordered(low: float, high: float) -> bool:
    """Whether two angles in degrees are a range of shears."""
    return -90 < low <= high < 90


class _SizedCrop(GeometricTransform):
    """A crop to a size that is counted in places of what `transform` is given.

    Args:
        size: Height and width of the result.
        per_sample: Whether each sample has its own draw.
    """

    def __init__(self, size: int | Sequence[int], per_sample: bool = True) -> None:
        super().__init__(per_sample)
        self.size = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(self.size) != 2 or not all(isinstance(side, int) and side > 0 for side in self.size):
            raise ValueError(f"size must be one or two whole numbers of places above 0, got {size}")

    def out_places(self, places: tuple[int, int]) -> tuple[int, int]:
        """The size, whatever the map."""
        return self.size

    def size_on(self, shape: tuple[int, int], places: tuple[int, int]) -> tuple[int, int]:
        """The size of the result for a map of `shape`, when the crop was drawn for a map of `places`.

        Raises:
            ValueError: That is no whole number.
        """
        wanted = [side * length for side, length in zip(self.size, shape, strict=True)]
        if any(side % length for side, length in zip(wanted, places, strict=True)):
            raise ValueError(
                f"a crop to {self.size[0]} x {self.size[1]} of {places[0]} x {places[1]} places has no whole size on a "
                f"map of {shape[0]} x {shape[1]}; resize that map to a multiple of {places[0]} x {places[1]}"
            )
        return wanted[0] // places[0], wanted[1] // places[1]


@TRANSFORMS.register_module()
class BatchRandomResizedCrop(_SizedCrop):
    """Crop a random box of each sample and resize it with bicubic interpolation; label maps take the nearest label.

    Args:
        size: Height and width of the result, in places of what `transform` is given (TokenAdapt's map: 56). On another
            resolution of the same images they are scaled with it.
        scale: Range of the crop's share of the map's area.
        ratio: Range of the crop's width / height.
        per_sample: Whether each sample has its own box.
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
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)

    def draw(
        self, batch_size: int, places: tuple[int, int], device: torch.device | str, generator: torch.Generator | None
    ) -> CropBoxes:
        """A box per sample, on the lattice of `places`."""
        return CropBoxes(sample_crop_boxes(batch_size, places, self.scale, self.ratio, generator, device), places)

    def apply(self, maps: Tensor, params: CropBoxes) -> Tensor:
        """Crop and resize maps (B, C, H, W)."""
        size = self.size_on(tuple(maps.shape[-2:]), params.places)
        return crop_resize(maps, params.boxes, size, params.places, self._weights)

    def apply_labels(self, labels: Tensor, params: CropBoxes) -> Tensor:
        """Crop and resize label maps (B, h, w), nearest."""
        return crop_labels(labels, params.boxes, self.size_on(tuple(labels.shape[-2:]), params.places), params.places)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio}, "
            f"per_sample={self.per_sample})"
        )


@TRANSFORMS.register_module()
class BatchCenterCrop(_SizedCrop):
    """Cut the centre out, without resizing; codes stay codes.

    Args:
        size: Height and width of the result, in places of what `transform` is given.
    """

    on_codes = True

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__(size)

    def draw(
        self, batch_size: int, places: tuple[int, int], device: torch.device | str, generator: torch.Generator | None
    ) -> CropBoxes:
        """The centred box; raises `ValueError` if it does not fit."""
        box = torch.zeros(batch_size, 4, dtype=torch.int64, device=device)
        for column, value in enumerate(self._box(places)):  # number by number: a copy to the device would wait for it
            box[:, column] = value
        return CropBoxes(box, places)

    def _box(self, places: tuple[int, int]) -> tuple[int, int, int, int]:
        (rows, columns), (height, width) = places, self.size
        if rows < height or columns < width:
            raise ValueError(
                f"a map of {rows} x {columns} places cannot be cropped to {height} x {width}; set a smaller size"
            )
        return (rows - height) // 2, (columns - width) // 2, height, width

    def apply(self, maps: Tensor, params: CropBoxes) -> Tensor:
        """Cut codes (B, H, W) or maps (B, C, H, W)."""
        cut = self._cut(maps, params.places)
        if cut is not None:
            return cut
        return crop_resize(maps, params.boxes, self.size_on(tuple(maps.shape[-2:]), params.places), params.places)

    def apply_labels(self, labels: Tensor, params: CropBoxes) -> Tensor:
        """Cut label maps (B, h, w)."""
        cut = self._cut(labels, params.places)
        if cut is not None:
            return cut
        return crop_labels(labels, params.boxes, self.size_on(tuple(labels.shape[-2:]), params.places), params.places)

    def _cut(self, maps: Tensor, places: tuple[int, int]) -> Tensor | None:
        """The box as a view; None where it begins inside a place of this resolution."""
        shape, (top, left, _, _) = tuple(maps.shape[-2:]), self._box(places)
        height, width = self.size_on(shape, places)
        if top * shape[0] % places[0] or left * shape[1] % places[1]:
            return None
        top, left = top * shape[0] // places[0], left * shape[1] // places[1]
        return maps[..., top : top + height, left : left + width]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"
