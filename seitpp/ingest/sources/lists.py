"""Images named in a text or CSV file, with or without labels."""

import csv
import io
import posixpath
from pathlib import PurePosixPath

from seitpp.ingest.sources.base import ImageSource, is_image_name
from seitpp.ingest.sources.files import join, parent, read_file
from seitpp.ingest.sources.labels import class_labels, is_number
from seitpp.io.text import decode_text, text_lines, unquoted

# The first that is there is taken.
_PATH_COLUMNS = (
    *("path", "image", "file", "filename", "img_path"),
    *("filepath", "file_path", "file_name", "image_path", "image_name", "img"),
)
_LABEL_COLUMNS = (
    *("label", "class", "gt_label"),
    *("labels", "class_name", "class_id", "class_index", "category", "category_id", "target", "synset", "wnid"),
)
_TOO_MANY = object()


class ListSource(ImageSource):
    """A list of image files.

    A `.txt` file has one `path` or `path index` per line (mmpretrain's annotation files). A `.csv` file has a header
    with a column `path` and perhaps one `label`, an index or a class name. Paths are relative to `root`, by default the
    list's folder.
    """

    kind = "list"
    listable = True

    def __init__(
        self, path: str, root: str | None = None, classes: list[str] | None = None, unlabelled: bool = False
    ) -> None:
        self.root = root if root is not None else parent(path)
        content, is_csv = read_file(path), PurePosixPath(path).suffix.lower() == ".csv"
        rows = _parse_csv(path, content, unlabelled) if is_csv else _parse_text(path, content)
        if not rows:
            raise ValueError(f"{path} names no images; expected one path per line, or a CSV file with a column 'path'")
        first: dict[str, int] = {}
        for line, name, _ in rows:
            plain = posixpath.normpath(join(self.root, name))
            if first.setdefault(plain, line) != line:
                raise ValueError(f"{path}, line {line}: {name} is named already in line {first[plain]}")
        self.names = [name for _, name, _ in rows]
        unmarked = [line for line, _, label in rows if label is None]
        if unlabelled or len(unmarked) == len(rows):
            return
        if unmarked:
            raise ValueError(f"{path}, line {unmarked[0]}: the label is missing, while other lines have one")
        self.labels, self.classes = class_labels([(f"{path}, line {line}", label) for line, _, label in rows], classes)


def _parse_text(path: str, content: bytes) -> list[tuple[int, str, str | None]]:
    """Return line number, path and label of each image.

    There are labels if every line ends with a number after a blank, or some image's name is followed by one word.
    """
    lines = [(number, line) for number, line in enumerate(text_lines(content, path, "list"), 1) if line]
    parts = [(number, unquoted(line), *_split_label(line)) for number, line in lines]
    if all(label is not None for *_, label in parts) or any(
        label is not None and is_image_name(name) for _, _, name, label in parts
    ):
        return [(number, name, label) for number, _, name, label in parts]
    return [(number, line, None) for number, line, _, _ in parts]


def _split_label(line: str) -> tuple[str, str | None]:
    """Split a line into its path and the label at its end, a number or any word behind the name of an image."""
    words = line.rsplit(maxsplit=1)
    if len(words) == 2 and (is_number(words[1]) or (is_image_name(unquoted(words[0])) and not is_image_name(line))):
        return unquoted(words[0]), words[1]
    return unquoted(line), None


def _parse_csv(path: str, content: bytes, unlabelled: bool) -> list[tuple[int, str, str | None]]:
    text = decode_text(content, path, "list")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True, restkey=_TOO_MANY)
        return _csv_rows(path, reader, unlabelled)
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from error


def _csv_rows(path: str, reader: csv.DictReader, unlabelled: bool) -> list[tuple[int, str, str | None]]:
    columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
    if len(columns) < len(reader.fieldnames or ()):
        raise ValueError(f"{path}: the first line names a column twice: {list(reader.fieldnames or ())}")
    paths = [columns[name] for name in _PATH_COLUMNS if name in columns]
    labels = [columns[name] for name in _LABEL_COLUMNS if name in columns]
    if not paths:
        raise ValueError(f"{path}: the first line names the columns {list(columns)}, expected one called 'path'")
    if not labels and not unlabelled and (others := [name for name in columns if name not in _PATH_COLUMNS]):
        raise ValueError(
            f"{path}: none of the columns {others} is called 'label'; call the one with the classes so, or pass "
            "--unlabelled to leave labels out"
        )
    rows = []
    for row in reader:
        if _TOO_MANY in row:
            raise ValueError(
                f"{path}, line {reader.line_num}: more fields than the first line names columns; put what contains a "
                "comma in double quotes"
            )
        name, label = (row[paths[0]] or "").strip(), (row[labels[0]] or "").strip() if labels else None
        if not name:
            raise ValueError(f"{path}, line {reader.line_num}: the path is missing")
        rows.append((reader.line_num, name, label or None))
    return rows
