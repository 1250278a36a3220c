"""What neighbours tell about a code: an estimate of the conditional entropy on samples that it was not fitted to."""

import numpy as np

_PRIOR_WEIGHT = 32  # codes that every context starts with, shared out as the next smaller context has them


def conditional_bits(
    fitted: np.ndarray, held_out: np.ndarray, codebook_size: int, *, with_contexts: bool = True
) -> float:
    """Bits of a code given its left and upper neighbour, estimated with held-out samples.

    The probability of a code is its count among `fitted` beside the same two neighbours, blended with that beside the
    same left neighbour, this with its count anywhere, and this with 1 / K, so that none is impossible. The mean code
    length of `held_out` under these is an upper bound on the conditional entropy: more samples can only sharpen it.
    Plugging the counts of the same samples in would give a value below it, as each context would be fitted to a few
    codes.

    Args:
        fitted: Codes (n, H, W, C), at least one sample.
        held_out: Codes (m, H, W, C), at least one sample, disjoint from `fitted`.
        codebook_size: Number of codes K.
        with_contexts: Whether the neighbours are known; without them it is the same estimate of order 0.

    Returns:
        Mean bits of a code.
    """
    bits = []
    for channel in range(fitted.shape[3]):
        known, asked = fitted[..., channel].astype(np.int64), held_out[..., channel].astype(np.int64)
        chance = np.full(asked.size, 1 / codebook_size)
        for num_neighbours in range(3 if with_contexts else 1):
            known_at = _contexts(known, codebook_size, num_neighbours)
            asked_at = _contexts(asked, codebook_size, num_neighbours)
            seen = _occurrences(known_at, asked_at)
            together = _occurrences(known_at * codebook_size + known.ravel(), asked_at * codebook_size + asked.ravel())
            chance = (together + _PRIOR_WEIGHT * chance) / (seen + _PRIOR_WEIGHT)
        bits.append(-np.log2(chance).mean())
    return float(np.mean(bits))


def _contexts(codes: np.ndarray, codebook_size: int, num_neighbours: int) -> np.ndarray:
    """Number of the context of every code (n, H, W), flat: none, the left neighbour, or this and the upper one."""
    left, upper = np.full((2, *codes.shape), codebook_size)  # this where there is no neighbour
    left[:, :, 1:], upper[:, 1:] = codes[:, :, :-1], codes[:, :-1]
    contexts = (np.zeros_like(left), left, left * (codebook_size + 1) + upper)  # up to 2^36, with a code 2^54
    return contexts[num_neighbours].ravel()


def _occurrences(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """How often each number of `asked` stands in `known`, both flat."""
    values, counts = np.unique(known, return_counts=True)
    found = np.minimum(np.searchsorted(values, asked), len(values) - 1)
    return np.where(values[found] == asked, counts[found], 0)
