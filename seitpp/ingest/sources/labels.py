"""Class names, and the text labels of lists and tar files as class indices: numbers stay, names are sorted."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from seitpp.ingest.sources.files import is_folder, list_folders, read_file
from seitpp.io.text import text_lines, unquoted

LARGEST_LABEL = 2**32 - 1
"""Class labels of a store take at most 32 bits."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def read_class_names(path: str) -> list[str]:
    """Read class names in the order of their indices: the lines of a file, or the sorted sub-folders of a folder."""
    if is_folder(path):
        if not (folders := list_folders(path)):
            raise ValueError(f"{path} has no sub-folders; expected one per class, or a file of names, one per line")
        return folders
    names = [unquoted(line) for line in text_lines(read_file(path), path, "list of class names")]
    if not names:
        raise ValueError(f"{path} names no classes; expected one per line")
    line_of: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name or name in line_of:
            found = f"{name!r}, as line {line_of[name]} is" if name else "empty"
            raise ValueError(f"{path}, line {number} is {found}; class names must differ and not be empty")
        line_of[name] = number
    return names


def alike_warnings(classes: Sequence[str]) -> list[str]:
    """Say which class names a person reads as the same: other Unicode forms, blanks, cases."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        visible = "".join(one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
        groups.setdefault(" ".join(visible.casefold().split()), []).append(name)
    if not (alike := [names for names in groups.values() if len(names) > 1]):
        return []
    names = " and ".join(ascii(name) for name in alike[0][:2])
    return [f"class names that read alike and yet are different classes: {len(alike)}, such as {names}"]


def is_number(text: str) -> bool:
    """Whether a label is numeric text, such as `10` or `10.0`."""
    return _NUMBER.fullmatch(text) is not None


def class_labels(
    entries: Sequence[tuple[str, str]], classes: Sequence[str] | None
) -> tuple[np.ndarray, list[str] | None]:
    """Return the class indices of labels that are all numbers or all names, (N,), int64, and the class names.

    Names are those given, those that occur in their order as text, or None where labels are numbers without names.

    Args:
        entries: Where each label stands, as in "list.csv, line 3", and its text.
        classes: Class names in the order of their indices, if they are given.
    """
    first: dict[str, str] = {}  # where each text stands first
    for origin, text in entries:
        first.setdefault(text, origin)
    names = None if classes is None else list(classes)
    index = {name: number for number, name in enumerate(names or sorted(first))}
    if not first.keys() <= index.keys() or names is None:
        numbers = {text: is_number(text) for text in first}
        if all(numbers.values()):
            index = {text: _class_index(origin, text, names) for text, origin in first.items()}
        elif names is not None:
            text = next(text for text in first if text not in index)
            raise ValueError(f"{first[text]}: label {text!r} is not among the {len(index)} classes")
        elif any(numbers.values()):
            _refuse_mixture(first, numbers, sum(numbers[text] for _, text in entries) * 2 < len(entries))
        else:
            names = sorted(first)
    return np.array([index[text] for _, text in entries], np.int64), names


def _class_index(origin: str, text: str, classes: Sequence[str] | None) -> int:
    number = Decimal(text)
    if number.adjusted() > 20 or number > LARGEST_LABEL:
        raise ValueError(f"{origin}: label {text} is above {LARGEST_LABEL}, expected a class index")
    if number < 0 or number.adjusted() < -20 or number != int(number):
        raise ValueError(f"{origin}: label {text} is no class index, expected a whole number from 0")
    if classes is not None and number >= len(classes):
        raise ValueError(f"{origin}: label {text} is not below {len(classes)}, the number of classes")
    return int(number)


def _refuse_mixture(first: Mapping[str, str], numbers: Mapping[str, bool], odd: bool) -> None:
    """Refuse labels of which some are numbers and some are not, naming one of the `odd`, the fewer kind."""
    text, usual = (next(text for text in first if numbers[text] is kind) for kind in (odd, not odd))
    raise ValueError(
        f"{first[text]}: label {text!r} is {'a' if odd else 'no'} number, unlike most others, such as {usual!r}; mend "
        "it, or give the class names with --classes FILE if all are names"
    )
