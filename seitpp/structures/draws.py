"""Draws of an augmentation for a batch, as data: frozen dataclasses of tensors with one row per sample.

A class of draws has tensors, first dimension B, and plain values, such as the grid that was drawn for. These functions
select, join, move and name the tensors, whatever the class is. A field called `partner` holds indices in the batch.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Draws = TypeVar("Draws")

# The field that points to other samples of the batch.
_PARTNER = "partner"


def tensors_of(draws: Any) -> dict[str, Tensor]:
    """Return the fields that are tensors, by name."""
    fields = {field.name: getattr(draws, field.name) for field in dataclasses.fields(draws)}
    return {name: value for name, value in fields.items() if isinstance(value, Tensor)}


def with_tensors(draws: Draws, tensors: Mapping[str, Tensor]) -> Draws:
    """Return the same draws with other tensors; `ValueError` if the names are not those of the class."""
    if tensors.keys() != tensors_of(draws).keys():
        raise ValueError(
            f"draws of {type(draws).__name__} consist of {', '.join(tensors_of(draws))}, got {', '.join(tensors)}"
        )
    return dataclasses.replace(draws, **tensors)  # type: ignore[type-var]


def _mapped(draws: Draws, change: Callable[[Tensor], Tensor]) -> Draws:
    return with_tensors(draws, {name: change(value) for name, value in tensors_of(draws).items()})


def draws_to(draws: Draws, device: torch.device) -> Draws:
    """Return the same draws on another device."""
    return _mapped(draws, lambda value: value.to(device, non_blocking=True))


def take_draws(draws: Draws, rows: Tensor) -> Draws:
    """Select samples (b,) as a batch of their own, in which sample i's partner is sample b - 1 - i."""
    taken = {name: value[rows] for name, value in tensors_of(draws).items()}
    if _PARTNER in taken:
        taken[_PARTNER] = torch.arange(len(rows) - 1, -1, -1, device=rows.device)
    return with_tensors(draws, taken)


def join_draws(parts: Sequence[Draws]) -> Draws:
    """Join the draws of several batches to those of one; partners stay the samples that they were."""
    joined = {name: torch.cat([tensors_of(part)[name] for part in parts]) for name in tensors_of(parts[0])}
    if _PARTNER in joined:
        sizes = [len(tensors_of(part)[_PARTNER]) for part in parts]
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        joined[_PARTNER] = joined[_PARTNER] + starts.repeat_interleave(torch.tensor(sizes))
    return with_tensors(parts[0], joined)
