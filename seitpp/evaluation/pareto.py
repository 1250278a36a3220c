"""Which of several runs are worth their bytes: those that no other beats."""

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> np.ndarray:
    """Return which points no other point beats, (n,), bool.

    A point is beaten by one that costs no more and scores no less, and is better in one of the two. Points that are
    alike in both stand or fall together. A cost or a score that is not finite is never on the front and beats nothing.

    Args:
        costs: Less is better, (n,).
        scores: More is better, (n,).
    """
    cost, score = np.asarray(costs, float), np.asarray(scores, float)
    if cost.ndim != 1 or cost.shape != score.shape:
        raise ValueError(f"costs are of shape {cost.shape} and scores of {score.shape}, expected one of each per point")
    usable = np.isfinite(cost) & np.isfinite(score)
    front, best = np.zeros(len(cost), bool), -np.inf
    for value in np.unique(cost[usable]):  # ascending
        here = usable & (cost == value)
        highest = score[here].max()
        if highest > best:
            front |= here & (score == highest)
            best = highest
    return front
