"""Statistics of a token store or release: how well its codes are used, and what an image costs in bytes."""

from dataclasses import dataclass

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.source import TokenSource


@dataclass(frozen=True)
class StoreStats:
    """How well the codes are used and what an image costs; bytes are means per image."""

    num_samples: int
    codebook_size: int
    codes_used: int
    entropy_bits: float
    perplexity: float
    token_bytes: float
    label_bytes: float
    checksum_bytes: float
    total_bytes: float
    entropy_bound_bytes: float
    num_labelled_classes: int | None
    samples_per_class_min: int | None
    samples_per_class_max: int | None


def store_stats(source: TokenSource, progress: store_format.Progress | None = None) -> StoreStats:
    """Code statistics over all samples of a store or release.

    The entropy is of order 0, in bits per code: no codec that ignores the neighbours of a code can go below
    `entropy_bound_bytes`. Classes are those of the class names, or those that occur when there are no names.

    Args:
        source: A `StoreReader` or `SeitRelease`.
        progress: Called with samples done and their total.
    """
    counts, done = np.zeros(source.codebook_size, np.int64), 0
    for batch in source.iter_batches():
        counts += np.bincount(batch.ravel(), minlength=source.codebook_size)
        done += len(batch)
        if progress is not None:
            progress(done, len(source))
    shares = counts[counts > 0] / counts.sum()
    entropy = abs(float(np.sum(shares * np.log2(shares))))
    sizes = {key: num_bytes / len(source) for key, num_bytes in source.section_bytes.items()}
    per_class = _samples_per_class(source)
    return StoreStats(
        num_samples=len(source),
        codebook_size=source.codebook_size,
        codes_used=int((counts > 0).sum()),
        entropy_bits=entropy,
        perplexity=2**entropy,
        token_bytes=sizes["tokens"],
        label_bytes=sizes["labels"],
        checksum_bytes=sizes["checksums"],
        total_bytes=sum(sizes.values()),
        entropy_bound_bytes=entropy * source.grid[0] * source.grid[1] / 8,
        num_labelled_classes=None if per_class is None else int((per_class > 0).sum()),
        samples_per_class_min=None if per_class is None else int(per_class.min()),
        samples_per_class_max=None if per_class is None else int(per_class.max()),
    )


def _samples_per_class(source: TokenSource) -> np.ndarray | None:
    """Samples of each class (C,); None without labels."""
    if source.labels is None:
        return None
    if source.classes is not None:
        return np.bincount(source.labels, minlength=len(source.classes))
    return np.unique(source.labels, return_counts=True)[1]
