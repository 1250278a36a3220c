"""Turns of whole batches by right angles, which need no interpolation: codes move and stay the codes they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seitpp.augment.base import SpatialTransform
from seitpp.registry import TRANSFORMS


@dataclass(frozen=True)
class Turns:
    """Right angles by which each sample is turned counterclockwise: `quarters` (B,), int64 in [0, 4)."""

    quarters: Tensor


@TRANSFORMS.register_module()
class QuarterTurns(SpatialTransform):
    """Turn each image by 0 to 3 right angles, all with the same probability.

    Args:
        per_sample: Whether each sample has its own draw.
    """

    on_codes = True

    def draw(
        self, batch_size: int, grid: tuple[int, int], device: torch.device | str, generator: torch.Generator | None
    ) -> Turns:
        """Draw the angles of a batch."""
        if grid[0] != grid[1]:
            raise ValueError(f"QuarterTurns turns square grids, got {grid[0]} x {grid[1]}")
        return Turns(torch.randint(4, (batch_size,), generator=generator, device=device))

    def apply(self, maps: Tensor, params: Turns) -> Tensor:
        """Turn codes (B, H, W) or maps (B, C, H, W)."""
        quarters = params.quarters.view(-1, *[1] * (maps.ndim - 1))
        turned = maps
        for count in (1, 2, 3):
            turned = torch.where(quarters == count, maps.rot90(count, dims=(-2, -1)), turned)
        return turned

    def apply_labels(self, labels: Tensor, params: Turns) -> Tensor:
        """Turn label maps (B, h, w)."""
        return self.apply(labels, params)
