"""Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) of whole batches, with soft targets."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seitpp.augment.base import BatchTransform, Device, Generator, Grid, check_probability
from seitpp.registry import TRANSFORMS


@dataclass(frozen=True)
class MixWeights:
    """Mixup's parameters: each sample's own share `weight`, (B,), in [0, 1], and the index of its `partner`, (B,)."""

    weight: Tensor
    partner: Tensor


@dataclass(frozen=True)
class CutBoxes:
    """CutMix's parameters: where in a sample its `partner` (B,), int64, is pasted.

    Boxes are (top, left, height, width) in positions of the grid, (B, 4), int64, inside it; height or width may be 0.
    """

    boxes: Tensor
    grid: Grid
    partner: Tensor

    @property
    def weight(self) -> Tensor:
        """Share of the grid that stays the sample's own, (B,), float32: one minus the pasted area, exactly."""
        rows, columns = self.grid
        return 1 - self.boxes[:, 2] * self.boxes[:, 3] / (rows * columns)


def check_partner(partner: str) -> str:
    if partner not in ("reverse", "random"):
        raise ValueError(f"partner must be 'reverse' or 'random', got {partner!r}")
    return partner


def draw_partners(partner: str, batch_size: int, device: Device, generator: Generator) -> Tensor:
    """Draw the partner of each sample, (B,), int64: sample B - 1 - i for sample i, or a random order of the batch."""
    if partner == "random":
        return torch.randperm(batch_size, generator=generator, device=device)
    return torch.arange(batch_size - 1, -1, -1, device=device)


class MixingTransform(BatchTransform):
    """Mixes each sample with a partner of the batch; without targets (self-supervised) the inputs only.

    Args:
        alpha: A sample's own share is drawn from Beta(alpha, alpha).
        partner: `reverse`, sample B - 1 - i for sample i, or `random`, a permutation of the batch.
        per_sample: Whether each sample has its own share (and box), or the batch one.
    """

    mixes = True
    compilable = ("apply",)

    def __init__(
        self, alpha: float = 1.0, partner: Literal["reverse", "random"] = "reverse", per_sample: bool = True
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha of Beta(alpha, alpha) must be finite and above 0, got {alpha}")
        self.alpha, self.partner, self.per_sample = alpha, check_partner(partner), per_sample

    def apply_scores(self, scores: Tensor, params: MixWeights | CutBoxes) -> Tensor:
        return torch.lerp(scores[params.partner], scores, params.weight.to(scores.dtype)[:, None])

    def _draw_shares(self, draws: int, device: Device, generator: Generator) -> Tensor:
        """Draw from Beta(alpha, alpha), (draws,): the first of two values of a Dirichlet distribution."""
        concentration = torch.full((draws, 2), float(self.alpha), device=device)
        # What torch.distributions.Beta draws from, too; that one takes no generator.
        return torch._sample_dirichlet(concentration, generator)[:, 0]


@TRANSFORMS.register_module()
class BatchMixup(MixingTransform):
    """Mixup: each sample becomes a weighted mean of itself and its partner, and so do the soft targets.

    Codes are embedded first, since a mean of code indices means nothing. Label maps are refused.

    Args:
        alpha: As for `MixingTransform`; so are `partner` and `per_sample`.
        prob: Probability that a sample (or the batch) is mixed at all.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        partner: Literal["reverse", "random"] = "reverse",
        per_sample: bool = True,
        prob: float = 1.0,
    ) -> None:
        super().__init__(alpha, partner, per_sample)
        self.prob = check_probability("prob", prob)

    def sample(self, batch_size: int, grid: Grid, device: Device = "cpu", generator: Generator = None) -> MixWeights:
        draws = batch_size if self.per_sample else 1
        weight = self._draw_shares(draws, device, generator)
        partner = draw_partners(self.partner, batch_size, device, generator)
        if self.prob < 1:
            mixed = torch.rand(draws, generator=generator, device=device) < self.prob
            weight = torch.where(mixed, weight, 1.0)
            # What is not mixed is its own partner: no weight of 0 keeps another's NaN out.
            partner = torch.where(mixed, partner, torch.arange(batch_size, device=device))
        return MixWeights(weight.expand(batch_size), partner)

    def apply(self, maps: Tensor, params: MixWeights) -> Tensor:
        return torch.lerp(maps[params.partner], maps, params.weight.to(maps.dtype)[:, None, None, None])

    def apply_labels(self, labels: Tensor, params: MixWeights) -> Tensor:
        raise ValueError(
            "BatchMixup cannot mix label maps (gt_sem_seg): every position would have two classes; use BatchCutMix, or "
            "leave mixing out of segmentation pipelines"
        )


@TRANSFORMS.register_module(name=["BatchCutMix", "TokenCutMix"])
class BatchCutMix(MixingTransform):
    """CutMix: a box of each sample is replaced by what its partner has there, and targets follow the pasted area.

    The box has the shape of the map and one minus the drawn share of its area; its centre is uniform over the map, and
    what sticks out is cut off. Codes are pasted as they are, label maps position by position. Options are those
    of `MixingTransform`; the share drawn from Beta(alpha, alpha) is that of the area that stays, before cutting off.
    """

    on_codes = True

    def sample(self, batch_size: int, grid: Grid, device: Device = "cpu", generator: Generator = None) -> CutBoxes:
        draws = batch_size if self.per_sample else 1
        shares = self._draw_shares(draws, device, generator)
        centres = torch.rand(2, draws, generator=generator, device=device)
        boxes = cut_boxes_from_draws(shares, centres[0], centres[1], grid).expand(batch_size, 4)
        return CutBoxes(boxes, grid, draw_partners(self.partner, batch_size, device, generator))

    def apply(self, maps: Tensor, params: CutBoxes) -> Tensor:
        pasted = pasted_positions(params, tuple(maps.shape[-2:]))
        return torch.where(pasted if maps.ndim == 3 else pasted[:, None], maps[params.partner], maps)

    def apply_labels(self, labels: Tensor, params: CutBoxes) -> Tensor:
        return self.apply(labels, params)


def cut_boxes_from_draws(share: Tensor, centre_y: Tensor, centre_x: Tensor, grid: Grid) -> Tensor:
    """Return boxes (top, left, height, width), (B, 4), int64, in whole positions (Yun et al., 2019, Sec. 3.1).

    `share` of the area, (B,), is outside the box before it is cut off at the border; centres are shares of the sides.
    """
    sides = (1 - share).clamp(min=0).sqrt()
    ends = []
    for centre, size in ((centre_y, grid[0]), (centre_x, grid[1])):
        length = (sides * size).round()
        start = (centre * size - length / 2).round()
        ends.append((start.clamp(min=0).long(), (start + length).clamp(max=size).long()))
    (top, bottom), (left, right) = ends
    return torch.stack([top, left, bottom - top, right - left], dim=1)


def pasted_positions(params: CutBoxes, shape: Grid) -> Tensor:
    """Mark the positions of maps of any resolution whose centre lies in their sample's box, (B, *shape), bool."""
    rows, columns = (
        _inside(params.boxes[:, axis], params.boxes[:, axis + 2], shape[axis], params.grid[axis]) for axis in range(2)
    )
    return rows[:, :, None] & columns[:, None, :]


def _inside(start: Tensor, length: Tensor, size: int, of: int) -> Tensor:
    """Mark positions of an axis whose centre lies in [start, start + length) of an axis of `of`; in whole numbers."""
    centres = (2 * torch.arange(size, device=start.device) + 1) * of
    return (centres >= 2 * size * start[:, None]) & (centres < 2 * size * (start + length)[:, None])
