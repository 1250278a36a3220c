"""Class indices that mean the same in all splits of a data set, also in one that lacks a class."""

from collections.abc import Sequence

import numpy as np

from seitpp.ingest.sources import ImageSource
from seitpp.io.text import shorten


def follow_classes(source: ImageSource, classes: Sequence[str], name: str) -> None:
    """Number the labels of a source in the order of another split's class names; `name` is what messages call it.

    A source without named classes stays as it is.

    Raises:
        ValueError: The source has classes that are not among those, or label maps in another order.
    """
    if source.classes is None or source.classes == list(classes):
        return
    index = {each: number for number, each in enumerate(classes)}
    if unknown := [each for each in source.classes if each not in index]:
        raise ValueError(
            f"{name} has classes that the first split lacks: {shorten(unknown, 5)}. Remove them, or name the classes "
            "of all splits in a file and pass it as --classes"
        )
    if source.labels is None:
        raise ValueError(f"{name} names other classes than the first split does; give both splits the same classes")
    source.labels = np.array([index[each] for each in source.classes], np.int64)[source.labels]
    source.classes = list(classes)
