"""The mapping files that come with ObjectNet: folder to label, label to names of ImageNet's classes, names to indices.

Anybody may have made them: they are bounded, and each name and index is compared with the others.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from seitpp.ingest.sources.files import join, read_file
from seitpp.io.text import decode_text, shown, text_lines
from seitpp.io.untrusted import parse_json, text

FILES = (
    "folder_to_objectnet_label.json",
    "objectnet_to_imagenet_1k.json",
    "pytorch_to_imagenet_2012_id.json",
    "imagenet_to_label_2012_v2",
)
_MOST_BYTES = 2**22
_SEPARATOR = ";"  # between names of one label; no name of a class holds it


class ObjectNetMapping(NamedTuple):
    """Folders with a class of ImageNet, and those without."""

    indices: dict[str, tuple[int, ...]]  # of ImageNet's classes in WordNet order, per folder, by its name
    unmapped: frozenset[str]


def read_mapping(folder: str, num_classes: int) -> ObjectNetMapping:
    """Read the four files; indices are in [0, `num_classes`).

    Raises:
        ValueError: A file is damaged, or the files contradict each other.
    """
    paths = {name: join(folder, name) for name in FILES}
    folder_of = _folders_by_label(paths[FILES[0]])
    index_of = _indices_by_name(paths[FILES[2]], paths[FILES[3]], num_classes)
    indices: dict[str, tuple[int, ...]] = {}
    label_of: dict[int, str] = {}
    for label, names in _object(paths[FILES[1]]).items():
        where = f"{paths[FILES[1]]}: {shown(label)}"
        if label not in folder_of:
            raise ValueError(f"{where} is the label of no folder in {paths[FILES[0]]}; take both from one release")
        indices[folder_of[label]] = right = _indices_of(text(names, where), index_of, where, paths[FILES[3]])
        for index in right:
            if label_of.setdefault(index, label) != label:
                raise ValueError(f"{where} and {shown(label_of[index])} are mapped to the same class, {index}")
    if not indices:
        raise ValueError(f"{paths[FILES[1]]} maps no label to a class of ImageNet")
    return ObjectNetMapping(dict(sorted(indices.items())), frozenset(folder_of.values()) - indices.keys())


def _folders_by_label(path: str) -> dict[str, str]:
    folders: dict[str, str] = {}
    for folder, label in _object(path).items():
        text(folder, f"{path}: a folder")
        if not folder or folder.startswith(".") or any(sign in folder for sign in "/\\\0"):
            raise ValueError(f"{path}: {shown(folder)} is no name of a class folder")
        if folders.setdefault(text(label, f"{path}: the label of {shown(folder)}"), folder) != folder:
            raise ValueError(
                f"{path}: the folders {shown(folders[label])} and {shown(folder)} have the label {label!r}"
            )
    return folders


def _indices_by_name(numbers_path: str, names_path: str, num_classes: int) -> dict[str, list[int]]:
    """Return the indices of each name; two of ImageNet's classes are both called crane."""
    names = text_lines(_read(names_path), names_path, "list of class names")
    numbers = _object(numbers_path)
    if len(names) != num_classes or len(numbers) != num_classes:
        raise ValueError(
            f"{names_path} has {len(names)} lines and {numbers_path} {len(numbers)} entries; expected "
            f"{num_classes}, one per class"
        )
    found: dict[str, list[int]] = {}
    lines = set()
    for index, line in numbers.items():
        if not index.isascii() or not index.isdigit() or len(index) > 9 or str(int(index)) != index:
            raise ValueError(f"{numbers_path}: {shown(index)} is no class index")
        if int(index) >= num_classes or type(line) is not int or not 0 <= line < num_classes or line in lines:
            raise ValueError(
                f"{numbers_path}: {index} is mapped to {shown(line)}; expected each of 0..{num_classes - 1} once"
            )
        lines.add(line)
        found.setdefault(names[line], []).append(int(index))
    return found


def _indices_of(names: str, index_of: Mapping[str, list[int]], where: str, names_path: str) -> tuple[int, ...]:
    indices: list[int] = []
    for name in (one.strip() for one in names.split(_SEPARATOR)):
        if len(known := index_of.get(name, ())) != 1:
            what = f"the name of {len(known)} classes" if known else "not a class"
            raise ValueError(f"{where} is mapped to {shown(name)}, which is {what} in {names_path}")
        indices.extend(known)
    if len(set(indices)) != len(indices):
        raise ValueError(f"{where} is mapped to a class twice: {shown(names)}")
    return tuple(sorted(indices))


def _object(path: str) -> dict[str, Any]:
    """Read a JSON object whose keys all differ."""

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key, value in pairs:
            if key in entries:
                raise ValueError(f"the key {shown(key)} occurs twice")
            entries[key] = value
        return entries

    value = parse_json(decode_text(_read(path), path, "JSON file"), path, object_pairs_hook=without_duplicates)
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a JSON {type(value).__name__}, expected an object")
    return value


def _read(path: str) -> bytes:
    content = read_file(path, 0, _MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path} has more than {_MOST_BYTES:,} bytes; it is damaged or no mapping of ObjectNet")
    return content
