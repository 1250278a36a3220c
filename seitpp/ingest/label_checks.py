"""What a person should hear of label maps: before a run, from a few of them, and after it, from all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seitpp.images.image_files import UnreadableImageError
from seitpp.images.label_files import IGNORE_INDEX, read_label_indices
from seitpp.ingest.sources import ImageSource
from seitpp.io.checkpoint import shorten

_MAPS_LOOKED_AT = 64
_MUCH_IGNORED = 0.5


def early_warnings(source: ImageSource) -> list[str]:
    """What a few of a source's label maps, evenly spread, say against their meaning; unreadable ones say nothing."""
    if not source.annotated:
        return []
    count = min(_MAPS_LOOKED_AT, len(source))
    found: set[int] = set()
    for place in range(count):
        try:
            content = source.read_annotation(place * len(source) // count)
            found.update(np.unique(read_label_indices(content, source.max_pixels).indices).tolist())
        except (UnreadableImageError, OSError):
            continue
    looked_at = f"the {count} label maps looked at"
    if source.reduce_zero_label and found & {IGNORE_INDEX, 65535}:
        return [
            f"{looked_at} hold {max(found)} (ignore) already, as if 0 had been made ignore before; where 0 is a class, "
            "--reduce-zero-label loses it and moves all others: leave it out"
        ]
    if found == {0, IGNORE_INDEX}:
        return [
            f"{looked_at} hold 0 and 255 alone, and 255 means ignore, so that one class is left; save masks of two "
            "classes as 0 and 1"
        ]
    return []


def classes_without_pixels(histogram: Mapping[str, Any]) -> list[str]:
    """Names of classes that no pixel has; indices below the largest one that occurs, where there are no names.

    Args:
        histogram: That of `seitpp.images.label_maps.label_histogram`.
    """
    classes = histogram["classes"]
    empty = [entry["name"] or str(entry["class"]) for entry in classes if not entry["pixels"]]
    if any(entry["name"] is not None for entry in classes):
        return empty
    present = {entry["class"] for entry in classes}
    return [str(index) for index in range(max(present, default=0)) if index not in present]


def late_warnings(share_ignored: float | None, empty: Sequence[str] | None, num_used: int | None) -> list[str]:
    """What the label maps of a finished store say against them.

    Args:
        share_ignored: Share of pixels that mean "ignore"; None where that was not measured, as the others.
        empty: Classes without a pixel.
        num_used: Classes with one.
    """
    lines = []
    if share_ignored is not None and share_ignored >= _MUCH_IGNORED:
        lines.append(
            f"{share_ignored:.1%} of the label maps' pixels mean ignore; was a class lost, by --reduce-zero-label or "
            "by masks that use 255 for one?"
        )
    if empty:
        lines.append(f"{len(empty)} classes have no pixel in any label map: {shorten(list(empty), 10)}")
    if num_used is not None and num_used < 2:
        lines.append(f"the label maps hold {num_used} class; a segmentation model needs two or more")
    return lines
