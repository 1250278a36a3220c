"""Statistics of a token store or release: how well its codes are used, and what an image costs in bytes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.header import Progress, sha256_hex
from seitpp.storage.source import TokenSource

_PRIOR_WEIGHT = 32  # codes that every context starts with, shared out as the next smaller context has them


def store_stats(source: TokenSource, progress: Progress | None = None) -> dict[str, Any]:
    """Count how well the codes of a store or release are used, and what an image costs.

    Returns:
        By name; bytes are means per image. The entropy is of order 0, in bits per code, with channels their mean: no
        codec that ignores the neighbours of a code can go below `entropy_bound_bytes`. The conditional bound is for
        codecs that know the left and the upper neighbour; it is estimated on at most 4,096 evenly spaced samples,
        fitted to the first half of them and measured on the second, see `conditional_bits`. What the neighbours bring
        is the difference to `held_out_order_0_bits`, the same estimate without them. Then the entries of
        `class_counts`.
    """
    num_channels, num_values = source.channels or 1, int(np.prod(source.sample_shape))
    counts, done = np.zeros((num_channels, source.codebook_size), np.int64), 0
    num_chosen = min(len(source), samples_at_a_time(num_values))
    chosen = np.unique(np.linspace(0, len(source) - 1, num_chosen).astype(np.int64))
    kept = []
    for batch in source.iter_batches():
        codes = stored_codes(batch, source)
        for channel in range(num_channels):
            counts[channel] += np.bincount(codes[..., channel].ravel(), minlength=source.codebook_size)
        kept.append(codes[chosen[(chosen >= done) & (chosen < done + len(batch))] - done])
        done += len(batch)
        if progress is not None:
            progress(done, len(source))
    entropy = float(np.mean([entropy_bits(row) for row in counts]))
    sample = np.concatenate(kept)
    half = len(sample) // 2
    order_0, conditional = (
        conditional_bits(sample[:half], sample[half:], source.codebook_size, num_neighbours) if half else None
        for num_neighbours in (0, 2)
    )
    sizes = {key: num_bytes / len(source) for key, num_bytes in source.section_bytes.items()}
    return {
        "num_samples": len(source),
        "codebook_size": source.codebook_size,
        "values_per_sample": num_values,
        "codes_used": int((counts.sum(axis=0) > 0).sum()),
        "entropy_bits": entropy,
        "perplexity": 2**entropy,
        "token_bytes": sizes["tokens"],
        "table_bytes": sizes["tables"],
        "index_bytes": sizes["index"],
        "label_bytes": sizes["labels"],
        "checksum_bytes": sizes["checksums"],
        "total_bytes": sum(sizes.values()),
        "entropy_bound_bytes": entropy * num_values / 8,
        "held_out_order_0_bits": order_0,
        "conditional_bits": conditional,
        "conditional_bound_bytes": None if conditional is None else conditional * num_values / 8,
        **class_counts(source),
    }


def class_counts(source: TokenSource) -> dict[str, Any]:
    """Count the classes of a store or release, and their samples; reads no tokens.

    Returns:
        `num_classes`: the class names, or, where there are none, one more than the highest label;
        `num_labelled_classes`: classes that have samples; `samples_per_class_min` and `samples_per_class_max`: of all
        named classes, or of those that occur where there are no names; `classes_hash`: `class_names_hash`. None where
        there are no labels, or no names.
    """
    names, labels = source.classes, source.labels
    present, counts = (np.array([]), np.array([0])) if labels is None else np.unique(labels, return_counts=True)
    least = 0 if names and len(present) < len(names) else int(min(counts))
    return {
        "num_classes": len(names) if names else None if labels is None else int(present[-1]) + 1,
        "num_labelled_classes": None if labels is None else len(present),
        "samples_per_class_min": None if labels is None else least,
        "samples_per_class_max": None if labels is None else int(max(counts)),
        "classes_hash": class_names_hash(names) if names else None,
    }


def class_names_hash(names: Sequence[str]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of class names in their order, joined by newlines."""
    return sha256_hex("\n".join(names).encode())[:16]


def stored_codes(tokens: np.ndarray, source: TokenSource) -> np.ndarray:
    """Return samples (n, *sample_shape) as codes (n, H, W, C) in [0, K)."""
    codes = tokens.astype(np.int64) - source.minimum if source.minimum else tokens
    return codes.reshape(len(tokens), *source.grid, source.channels or 1)


def entropy_bits(counts: np.ndarray) -> float:
    """Return the entropy of a distribution in bits, from counts of which at least one is not 0."""
    shares = counts[counts > 0] / counts.sum()
    return abs(float(np.sum(shares * np.log2(shares))))


def conditional_bits(fitted: np.ndarray, held_out: np.ndarray, codebook_size: int, num_neighbours: int = 2) -> float:
    """Estimate the bits of a code given its left and upper neighbour, with held-out samples.

    The probability of a code is its count among `fitted` beside the same two neighbours, blended with that beside the
    same left neighbour, this with its count anywhere, and this with 1 / K, so that none is impossible. The mean code
    length of `held_out` under these is an upper bound on the conditional entropy: more samples can only sharpen it.
    Plugging the counts of the same samples in would give a value below it, as each context would be fitted to a few
    codes. Both are codes (n, H, W, C), at least one sample each, disjoint. One of `num_neighbours` is the left one;
    none gives the same estimate of order 0.
    """
    bits = []
    for channel in range(fitted.shape[3]):
        known, asked = fitted[..., channel].astype(np.int64), held_out[..., channel].astype(np.int64)
        chance = np.full(asked.size, 1 / codebook_size)
        for num_known in range(num_neighbours + 1):
            known_at, asked_at = (_contexts(codes, codebook_size, num_known) for codes in (known, asked))
            seen = _occurrences(known_at, asked_at)
            together = _occurrences(known_at * codebook_size + known.ravel(), asked_at * codebook_size + asked.ravel())
            chance = (together + _PRIOR_WEIGHT * chance) / (seen + _PRIOR_WEIGHT)
        bits.append(-np.log2(chance).mean())
    return float(np.mean(bits))


def _contexts(codes: np.ndarray, codebook_size: int, num_neighbours: int) -> np.ndarray:
    """Number the context of every code (n, H, W), flat: none, the left neighbour, or this and the upper one."""
    left, upper = np.full((2, *codes.shape), codebook_size)  # this where there is no neighbour
    left[:, :, 1:], upper[:, 1:] = codes[:, :, :-1], codes[:, :-1]
    contexts = (np.zeros_like(left), left, left * (codebook_size + 1) + upper)  # up to 2^36, with a code 2^54
    return contexts[num_neighbours].ravel()


def _occurrences(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Count how often each number of `asked` stands in `known`, both flat."""
    values, counts = np.unique(known, return_counts=True)
    found = np.minimum(np.searchsorted(values, asked), len(values) - 1)
    return np.where(values[found] == asked, counts[found], 0)
