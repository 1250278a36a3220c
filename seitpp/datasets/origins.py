"""Which stored sample each item of a data set is, to tell whether two data sets share some."""

from typing import Any, NamedTuple

import numpy as np


class Origins(NamedTuple):
    """Where the items of a data set come from.

    Attributes:
        sources: What identifies the stored data, such as content hashes.
        which: Source of each item, (N,), int64.
        places: Place of each item in its source, (N,), int64.
    """

    sources: tuple[str, ...]
    which: np.ndarray
    places: np.ndarray


def origins_of(dataset: Any) -> Origins | None:
    """Origins of a data set's items; None where it does not tell them."""
    return dataset.origins() if hasattr(dataset, "origins") else None


def common_numbers(first: Origins, second: Origins) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,) and (M,) of the items of two data sets, equal where they are the same stored sample."""
    width = 1 + max((int(one.places.max()) for one in (first, second) if len(one.places)), default=0)
    numbers = {source: number for number, source in enumerate(dict.fromkeys(first.sources + second.sources))}
    return tuple(
        np.array([numbers[source] for source in one.sources], dtype=np.int64)[one.which] * width + one.places
        for one in (first, second)
    )


def num_shared(first: Origins | None, second: Origins | None) -> int:
    """How many distinct stored samples two data sets have in common, as far as they tell."""
    if first is None or second is None or not set(first.sources) & set(second.sources):
        return 0
    return len(np.intersect1d(*common_numbers(first, second)))
