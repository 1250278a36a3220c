"""Part of a set of images: which samples a share, a number or a storage budget buys."""

import numpy as np


def choose_subset(
    num_samples: int,
    labels: np.ndarray | None,
    bytes_per_sample: float,
    *,
    fraction: float | None = None,
    count: int | None = None,
    budget_bytes: float | None = None,
    class_balanced: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Draw a subset of N samples without replacement; return its indices, ascending, int64.

    Args:
        num_samples: N.
        labels: Class of each sample, (N,), or None.
        bytes_per_sample: Stored bytes per sample, for `budget_bytes`.
        fraction: Share of the samples, in (0, 1]; or
        count: their number; or
        budget_bytes: bytes that the subset may take, rounded down to whole samples.
        class_balanced: Take equally many of each class as far as the classes reach; needs labels. Otherwise samples are
            drawn from all alike, as in the paper's subsets ("randomly sampling", SeiT++, Sec. 4.5). For one seed, a
            larger subset contains the smaller one.
        seed: Seed of the draw.
    """
    given = {"fraction": fraction, "count": count, "budget_bytes": budget_bytes}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"a subset needs exactly one of fraction, count, budget_bytes; got {named or 'none'}")
    if fraction is not None:
        size = round(num_samples * fraction)
    elif count is not None:
        size = int(count)
    else:
        size = int(budget_bytes // bytes_per_sample)
    if not 1 <= size <= num_samples:
        each = "" if budget_bytes is None else f" ({bytes_per_sample:.1f} bytes each)"
        raise ValueError(
            f"subset {named[0]}={given[named[0]]} means {size} of {num_samples} samples{each}; "
            "it must be between 1 and all of them"
        )
    order = np.random.default_rng(seed).permutation(num_samples)
    if class_balanced and labels is not None:
        order = order[_order_by_turns(labels[order])]
    return np.sort(order[:size])


def _order_by_turns(labels: np.ndarray) -> np.ndarray:
    """Order samples so that each class gives its first one before any gives its second, and so on."""
    by_class = np.argsort(labels, kind="stable")
    sorted_labels = labels[by_class]
    starts = np.flatnonzero(np.r_[True, sorted_labels[1:] != sorted_labels[:-1]])
    sizes = np.diff(np.r_[starts, len(labels)])
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.argsort(turn, kind="stable")  # within a turn the random order stays
