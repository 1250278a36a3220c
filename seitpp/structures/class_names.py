"""Class names in the order of their indices: how two lists differ, and which order is ImageNet's."""

import re
from collections.abc import Sequence

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
