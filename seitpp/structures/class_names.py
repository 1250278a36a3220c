"""Class names in the order of their indices: how two lists differ, and which order is ImageNet's."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from seitpp.io.text import shorten

_WORDNET_ID = re.compile(r"n\d{8}")


def class_difference(expected: Sequence[str], found: Sequence[str]) -> str | None:
    """Say what `found` lacks, has in addition, or has in another order; None if the two are the same."""
    expected, found = list(expected), list(found)
    if expected == found:
        return None
    known, given = set(expected), set(found)
    missing, extra = [name for name in expected if name not in given], [name for name in found if name not in known]
    if missing or extra:
        parts = [(missing, "missing"), (extra, "not expected")]
        return ", ".join(f"{len(names)} {word} ({shorten(map(repr, names), 4)})" for names, word in parts if names)
    if len(expected) != len(found):
        return f"some names occur more than once: there are {len(found)}, expected {len(expected)}"
    index = next(number for number, name in enumerate(found) if name != expected[number])
    return f"the same names in another order, of which class {index} is {found[index]!r}, expected {expected[index]!r}"


def is_wordnet_order(names: Sequence[str]) -> bool:
    """Return whether names are ascending WordNet ids, the order in which everybody counts ImageNet's classes."""
    names = list(names)
    return all(_WORDNET_ID.fullmatch(name) for name in names) and names == sorted(names)


def united_classes(lists: Sequence[Sequence[str]]) -> tuple[list[str], list[np.ndarray]]:
    """Unite lists of class names by name, to join data whose classes they are.

    Lists that are all sorted, as of folders, give a sorted one; else the first list's names come first, in its order.

    Returns:
        The names, and for each list the new index (K,), int64, of each of its classes.

    Raises:
        ValueError: The lists differ, and a name is there twice in one, so that it does not tell a class.
    """
    if all(list(one) == list(lists[0]) for one in lists):
        return list(lists[0]), [np.arange(len(one)) for one in lists]
    for one in lists:
        if twice := [name for name, count in Counter(one).items() if count > 1]:
            raise ValueError(
                f"classes cannot be united by name: {shorten(map(repr, twice), 4)} names two classes of one list; "
                "give all the same list of different names (--classes FILE)"
            )
    names = list(dict.fromkeys(name for one in lists for name in one))
    if all(list(one) == sorted(one) for one in lists):
        names.sort()
    index = {name: number for number, name in enumerate(names)}
    return names, [np.array([index[name] for name in one], np.int64) for one in lists]


def partial_classes(lists: Sequence[Sequence[str]], wheres: Sequence[str]) -> str | None:
    """Say which classes are in some of several lists alone, such as names that differ by mistake; None if none is."""
    lines = []
    for where, one in zip(wheres, lists, strict=True):
        others = set().union(*(set(other) for other in lists if other is not one))
        if alone := [name for name in one if name not in others]:
            lines.append(f"{len(alone)} in {where} alone ({shorten(map(repr, alone), 4)})")
    return None if not lines else "classes were united by name: " + ", ".join(lines)
