"""The error that a metric raises in place of a score where predictions are NaN or infinite."""

from collections.abc import Iterable
from math import isfinite


def check_scorable(metric: object, values: Iterable[float], what: str) -> None:
    """Refuse to score samples whose values, one per sample that is finite for any sound prediction, are not finite.

    `what` names the values in the message.
    """
    values = list(values)
    bad = sum(not isfinite(value) for value in values)
    if bad:
        raise ValueError(
            f"{type(metric).__name__} cannot score the model's outputs: {bad} of {len(values)} samples have a NaN or "
            f"infinite {what}. The weights have diverged or do not suit the data's range; no score was computed"
        )
