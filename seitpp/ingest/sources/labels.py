"""Class names, and the text labels of lists and tar files as class indices: numbers stay, names are sorted."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from seitpp.ingest.sources.files import is_folder, list_folders, read_file
from seitpp.io.text import text_lines, unquoted

LARGEST_LABEL = 2**32 - 1
"""Class labels of a store take at most 32 bits."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def read_class_names(path: str) -> list[str]:
    """Read class names in the order of their indices: the lines of a file, or the sorted sub-folders of a folder.

    Raises:
        ValueError: There are none, the file is not text, or a name is empty or occurs twice.
    """
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
    texts = [text for _, text in entries]
    if classes is None or not set(texts) <= set(classes):
        numeric = [is_number(text) for text in texts]
        if all(numeric):
            return _indices(entries, classes), None if classes is None else list(classes)
        if classes is None:
            _refuse_mixture(entries, numeric)
            classes = sorted(set(texts))
    index = {name: number for number, name in enumerate(classes)}
    for origin, text in entries:
        if text not in index:
            raise ValueError(f"{origin}: label {text!r} is not among the {len(index)} classes")
    return np.array([index[text] for text in texts], np.int64), list(classes)


def _indices(entries: Sequence[tuple[str, str]], classes: Sequence[str] | None) -> np.ndarray:
    known: dict[str, int] = {}
    for origin, text in entries:
        if text not in known:
            known[text] = _class_index(origin, text)
        if classes is not None and known[text] >= len(classes):
            raise ValueError(f"{origin}: label {text} is not below {len(classes)}, the number of classes")
    return np.array([known[text] for _, text in entries], np.int64)


def _class_index(origin: str, text: str) -> int:
    number = Decimal(text)
    if number.adjusted() > 20 or number > LARGEST_LABEL:
        raise ValueError(f"{origin}: label {text} is above {LARGEST_LABEL}, expected a class index")
    if number < 0 or number.adjusted() < -20 or number != int(number):
        raise ValueError(f"{origin}: label {text} is no class index, expected a whole number from 0")
    return int(number)


def _refuse_mixture(entries: Sequence[tuple[str, str]], numeric: Sequence[bool]) -> None:
    """Refuse labels of which some are numbers and some are not, naming one of the fewer kind."""
    if not any(numeric):
        return
    odd = sum(numeric) * 2 < len(numeric)
    origin, text = entries[list(numeric).index(odd)]
    usual = entries[list(numeric).index(not odd)][1]
    raise ValueError(
        f"{origin}: label {text!r} is {'a' if odd else 'no'} number, unlike most others, such as {usual!r}; mend it, "
        "or give the class names with --classes FILE if all are names"
    )
