"""Images named in a text or CSV file, with or without labels."""

import csv
import io
import posixpath
from pathlib import PurePosixPath

import numpy as np

from seitpp.tokenization.sources.base import LARGEST_LABEL, ImageSource, is_image_name
from seitpp.tokenization.sources.files import join, parent, read_file

_PATH_COLUMNS = ("path", "image", "file", "filename", "img_path")
_LABEL_COLUMNS = ("label", "class", "gt_label")


class ListSource(ImageSource):
    """A list of image files.

    A `.txt` file has one `path` or `path index` a line (mmpretrain's annotation files). A `.csv` file has a header with
    a column `path` and perhaps one `label`, an index or a class name. Paths are relative to `root`.

    Args:
        path: The list.
        root: Folder of relative paths; by default that of the list.
        classes: Class names in the order of their indices.
        unlabelled: Leave the labels out.

    Raises:
        ValueError: The list is empty, names an image twice, or has a label that is missing or unknown.
    """

    kind = "list"

    def __init__(
        self, path: str, root: str | None = None, classes: list[str] | None = None, unlabelled: bool = False
    ) -> None:
        self.path = path
        self.root = root if root is not None else parent(path)
        try:
            text = read_file(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a list in UTF-8: {error}") from error
        rows = _parse_csv(path, text) if PurePosixPath(path).suffix.lower() == ".csv" else _parse_text(text)
        if not rows:
            raise ValueError(f"{path} names no images; expected one path a line, or a CSV file with a column 'path'")
        self._refuse_duplicates([(line, name) for line, name, _ in rows])
        self.names = [name for _, name, _ in rows]
        if not unlabelled:
            self._label([(line, label) for line, _, label in rows], classes)

    def read(self, index: int) -> bytes:
        """Bytes of an image's file."""
        return read_file(join(self.root, self.names[index]))

    def _refuse_duplicates(self, rows: list[tuple[int, str]]) -> None:
        first: dict[str, int] = {}
        for line, name in rows:
            plain = posixpath.normpath(name)
            if plain in first:
                raise ValueError(f"{self.path}, line {line}: {name} is named already in line {first[plain]}")
            first[plain] = line

    def _label(self, rows: list[tuple[int, str | None]], classes: list[str] | None) -> None:
        given = [label is not None for _, label in rows]
        if not any(given):
            return
        if not all(given):
            line = rows[given.index(False)][0]
            raise ValueError(f"{self.path}, line {line}: the label is missing, while other lines have one")
        texts = [str(label) for _, label in rows]
        if all(text.isdecimal() for text in texts) and not set(texts) <= set(classes or ()):
            for (line, _), text in zip(rows, texts, strict=True):
                if len(text) > 10 or int(text) > LARGEST_LABEL:
                    raise ValueError(f"{self.path}, line {line}: label {text} is above {LARGEST_LABEL}")
            labels = np.array([int(text) for text in texts], np.int64)
        else:
            classes = sorted(set(texts)) if classes is None else classes
            index = {name: number for number, name in enumerate(classes)}
            for (line, _), text in zip(rows, texts, strict=True):
                if text not in index:
                    raise ValueError(f"{self.path}, line {line}: label {text!r} is not among the {len(index)} classes")
            labels = np.array([index[text] for text in texts], np.int64)
        if classes is not None and labels.max() >= len(classes):
            line = rows[int(labels.argmax())][0]
            raise ValueError(
                f"{self.path}, line {line}: label {labels.max()} is not below {len(classes)}, the number of classes"
            )
        self.labels, self.classes = labels, None if classes is None else list(classes)


def _parse_text(text: str) -> list[tuple[int, str, str | None]]:
    """(line, path, label) of each line.

    There are labels if every line ends with an integer after a blank, or some image's name is followed by one.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    parts = [(number, line, *_split_label(line)) for number, line in lines]
    if all(label is not None for *_, label in parts) or any(
        label is not None and is_image_name(name) for _, _, name, label in parts
    ):
        return [(number, name, label) for number, _, name, label in parts]
    return [(number, line, None) for number, line, _, _ in parts]


def _split_label(line: str) -> tuple[str, str | None]:
    """A line's path and its integer at the end, if it has one."""
    words = line.rsplit(maxsplit=1)
    return (words[0], words[1]) if len(words) == 2 and words[1].isdecimal() else (line, None)


def _parse_csv(path: str, text: str) -> list[tuple[int, str, str | None]]:
    try:
        return _csv_rows(path, csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from error


def _csv_rows(path: str, reader: csv.DictReader) -> list[tuple[int, str, str | None]]:
    columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
    paths = [columns[name] for name in _PATH_COLUMNS if name in columns]
    labels = [columns[name] for name in _LABEL_COLUMNS if name in columns]
    if not paths:
        raise ValueError(f"{path}: the first line names the columns {list(columns)}, expected one called 'path'")
    rows = []
    for row in reader:
        name, label = (row[paths[0]] or "").strip(), (row[labels[0]] or "").strip() if labels else None
        if not name:
            raise ValueError(f"{path}, line {reader.line_num}: the path is missing")
        rows.append((reader.line_num, name, label or None))
    return rows
