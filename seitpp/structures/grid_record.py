"""The grid of tokens that a model was trained on, as its checkpoint records it, compared with what it is given.

Position tables are resized and grids cropped silently, so a model accepts any grid and scores it at wrong positions.
Checkpoints therefore record the stored grid and what was kept of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seitpp.io.text import shown

# The entry of a checkpoint's meta.
GRID_KEY = "token_grid"
_LARGEST_SIDE = 1 << 20

Sides = tuple[int, int]


@dataclass(frozen=True)
class TokenGrid:
    """The grid that is stored of an image, and the part that a model sees.

    Args:
        stored: Rows and columns of an image's tokens; None if not known.
        kept: Rows and columns after the centre crop, the stored ones without a crop; None if not known.
    """

    stored: Sides | None = None
    kept: Sides | None = None

    def record(self) -> dict[str, list[int] | None]:
        """Return it in plain values, for a checkpoint."""
        return {name: None if sides is None else list(sides) for name, sides in vars(self).items()}


def recorded_grid(meta: Any, source: Any) -> TokenGrid:
    """Read the grid of the training data from the meta of a checkpoint (`source`, for messages), as far as it is known.

    Files written before grids were recorded have the training store's grid in `dataset_meta`.
    """
    meta = meta if isinstance(meta, Mapping) else {}
    if GRID_KEY in meta:
        record = meta[GRID_KEY]
        if not isinstance(record, Mapping):
            raise ValueError(f"checkpoint {source}: {GRID_KEY} is {shown(record)}, expected a dict")
        return TokenGrid(*(as_sides(record.get(name), f"checkpoint {source}: {name}") for name in ("stored", "kept")))
    dataset_meta = meta.get("dataset_meta")
    grid = dataset_meta.get("grid") if isinstance(dataset_meta, Mapping) else None
    return TokenGrid(as_sides(grid, f"checkpoint {source}: grid"))


def as_sides(value: Any, name: str) -> Sides | None:
    """Return a value of a file or a config as rows and columns, None as it is; `ValueError` for anything else."""
    if value is None:
        return None
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    if len(sides) != 2 or any(type(side) is not int or not 1 <= side <= _LARGEST_SIDE for side in sides):
        raise ValueError(f"{name} is {shown(value)}, expected rows and columns")
    return tuple(sides)


def grid_difference(trained: TokenGrid, given: TokenGrid) -> str | None:
    """Say how a given grid differs from the one trained on, where both are known; None if it does not."""
    for before, now, what in (
        (trained.stored, given.stored, "grids of"),
        (trained.kept, given.kept, "the central"),
    ):
        if before is not None and now is not None and before != now:
            return f"it was trained on {what} {by(before)} tokens and is given {by(now)}"
    return None


def by(sides: Sides) -> str:
    """Write sides as `4 x 4`."""
    return f"{sides[0]} x {sides[1]}"
