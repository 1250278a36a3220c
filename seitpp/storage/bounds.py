"""What neighbours tell about a code: an estimate of the conditional entropy on samples that it was not fitted to."""

import numpy as np

from seitpp.storage.contexts import fit_model
from seitpp.storage.entropy_model import MAX_ENTROPY_CODES, ChannelModel

_PRIOR_WEIGHT = 32  # codes of order 0 that every context starts with


def conditional_bits(
    fitted: np.ndarray, held_out: np.ndarray, codebook_size: int, *, with_contexts: bool = True
) -> float | None:
    """Bits of a code given its left and upper neighbour, estimated with held-out samples.

    Groups of neighbours are those of the `rans-context` codec on `fitted`. The probability of a code is its count among
    `fitted` in its context, blended with its share among all codes so that none is impossible. The mean code length of
    `held_out` under these is an upper bound on the conditional entropy: more samples can only sharpen it. Plugging the
    counts of the same samples in would give a value below it, as each context would be fitted to a few codes.

    Args:
        fitted: Codes (n, H, W, C), at least one sample.
        held_out: Codes (m, H, W, C), at least one sample, disjoint from `fitted`.
        codebook_size: Number of codes K.
        with_contexts: Whether the neighbours are known; without them it is the same estimate of order 0.

    Returns:
        Mean bits of a code; None if there are more codes than the entropy codecs hold.
    """
    if codebook_size > MAX_ENTROPY_CODES:
        return None
    model = fit_model(fitted, codebook_size, with_contexts=with_contexts)
    bits = [
        _channel_bits(fitted[..., place], held_out[..., place], channel, codebook_size)
        for place, channel in enumerate(model.channels)
    ]
    return float(np.mean(bits))


def _channel_bits(fitted: np.ndarray, held_out: np.ndarray, channel: ChannelModel, codebook_size: int) -> float:
    """Mean code length of the codes `held_out` (m, H, W) of one channel."""
    cells = (channel.contexts(fitted) * codebook_size + fitted).ravel()
    counts = np.bincount(cells, minlength=channel.num_contexts * codebook_size).reshape(-1, codebook_size)
    overall = counts.sum(axis=0) + 0.5
    contexts = channel.contexts(held_out)
    share = overall[held_out] / overall.sum()
    chance = (counts[contexts, held_out] + _PRIOR_WEIGHT * share) / (counts.sum(axis=1)[contexts] + _PRIOR_WEIGHT)
    return float(-np.log2(chance).mean())
