"""Class names in the order of their indices: how two lists of them differ, and which orders go without saying."""

import re
from collections.abc import Sequence

from seitpp.io.checkpoint import shorten

_WORDNET_ID = re.compile(r"n\d{8}")


def class_difference(expected: Sequence[str], found: Sequence[str]) -> str | None:
    """What `found` lacks, has beside, or has in another order, in words; None if the two are the same."""
    expected, found = list(expected), list(found)
    if expected == found:
        return None
    missing, extra = (_but(expected, found), _but(found, expected))
    if missing or extra:
        parts = [(missing, "missing"), (extra, "not expected")]
        return ", ".join(f"{len(names)} {word} ({shorten(map(repr, names), 4)})" for names, word in parts if names)
    if len(expected) != len(found):
        return f"some names occur more than once: there are {len(found)}, expected {len(expected)}"
    place = next(number for number, name in enumerate(found) if name != expected[number])
    return f"the same names in another order, of which class {place} is {found[place]!r}, expected {expected[place]!r}"


def is_wordnet_order(names: Sequence[str]) -> bool:
    """Whether names are WordNet ids, ascending: the order in which ImageNet's classes are counted everywhere."""
    names = list(names)
    return all(_WORDNET_ID.fullmatch(name) for name in names) and names == sorted(names)


def _but(names: list[str], others: list[str]) -> list[str]:
    others = set(others)
    return [name for name in names if name not in others]
