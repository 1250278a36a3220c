"""Images in tar files, as webdataset lays them out: files that share a key up to the first dot are one sample."""

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, takewhile
from operator import attrgetter
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from seitpp.ingest.sources.base import ImageSource, described_endings, is_image_name
from seitpp.ingest.sources.files import is_folder, join, list_files, open_file, read_file
from seitpp.ingest.sources.folders import refuse_splits
from seitpp.ingest.sources.labels import class_labels, is_number
from seitpp.io.progress import progress_bar
from seitpp.io.text import shown
from seitpp.io.untrusted import PARSER_ERRORS, parse_json_object

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LABEL_ENDINGS = ("cls", "cls.txt", "class", "class.txt", "label", "label.txt")
# Of a sample's JSON file; the first that is there is taken.
_LABEL_FIELDS = ("label", "cls", "class", "class_id", "class_name", "gt_label", "target", "category", "category_id")
_MOST_FILES = 1_000_000
_MOST_LABEL_BYTES = 1000
_MOST_JSON_BYTES = 1 << 20


class _Member(NamedTuple):
    """Where a file lies in a tar file."""

    name: str
    offset: int
    size: int


@dataclass(slots=True)
class _Sample:
    """An image in the tar file `path`, and the files of its label and its metadata beside it."""

    path: str
    image: _Member
    label: _Member | None = None
    json: _Member | None = None


class TarSource(ImageSource):
    """Images inside uncompressed tar files, read in place.

    The class of `KEY.jpg` is the index in `KEY.cls` (or `KEY.cls.txt`, `KEY.label`, whatever their case); where there
    is none, `label` or `class` in `KEY.json`; where there is neither, the folder inside the tar file, if there are
    several.
    A `pattern` is a `.tar` file, a folder of them, or has a number range, `train-{000..127}.tar`.
    """

    kind = "tar"
    _origin: str | None = None

    def __init__(self, pattern: str, classes: list[str] | None = None, unlabelled: bool = False) -> None:
        self.paths = expand_tar_pattern(pattern)
        self.folders = (pattern,) if is_folder(pattern) else ()
        self.names, self._members = [], []
        samples: list[_Sample] = []
        skipped: Counter[str] = Counter()
        with progress_bar(f"listing {pattern}", unit="tar files") as progress:
            for number, path in enumerate(self.paths):
                file_name = path.replace("\\", "/").rpartition("/")[2]
                for sample in _index(path, skipped, unlabelled):
                    self.names.append(f"{file_name}/{sample.image.name}")
                    self._members.append((number, sample.image.offset, sample.image.size))
                    samples.append(sample)
                progress(number + 1, len(self.paths))
        self.skipped = dict(skipped.most_common())
        if not self.names:
            raise ValueError(f"{pattern} holds no images in its {len(self.paths)} tar files")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{pattern}: two tar files have the same name and hold images of the same name")
        if not unlabelled and (entries := self._label_texts(pattern, samples)):
            self.labels, self.classes = class_labels(entries, classes)
            self._example = entries[0][1]

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        number, offset, size = self._members[index]
        return read_file(self.paths[number], offset, size)

    def _label_warnings(self) -> list[str]:
        lines = super()._label_warnings()
        if self._origin is not None:
            found = len(np.unique(self.labels))
            lines.insert(0, f"labels were taken from {self._origin}: {found} classes, such as {self._example!r}")
        return lines

    def _label_texts(self, pattern: str, samples: list[_Sample]) -> list[tuple[str, str]]:
        """Return where the label of each sample stands, and its text; nothing where there are no labels."""
        if any(sample.label is not None for sample in samples):
            return _plain_labels(samples)
        num_json = sum(sample.json is not None for sample in samples)
        if num_json and (entries := _json_labels(samples)):
            self._origin = "the JSON files beside the images"
            return entries
        if folders := _class_folders(pattern, [sample.image.name for sample in samples]):
            refuse_splits(pattern, sorted(set(folders)))
            self._origin = "the folders inside the tar files"
            return [(f"{one.path}: {one.image.name}", folder) for one, folder in zip(samples, folders, strict=True)]
        beside = {ending: count for ending, count in self.skipped.items() if not ending.startswith("(")}
        if beside := {**beside, **({".json": num_json} if num_json else {})}:
            raise ValueError(
                f"{pattern}: no classes were found; beside the images lie {described_endings(beside)}, none a KEY.cls "
                f"(a class index) or a KEY.json with one of {', '.join(_LABEL_FIELDS)}. Pass --unlabelled to leave "
                "labels out"
            )
        return []


def expand_tar_pattern(pattern: str) -> list[str]:
    """Return the tar files that a pattern or folder names, in order."""
    if braces := _BRACES.search(pattern):
        low, high = braces.groups()
        if not 0 <= int(high) - int(low) < _MOST_FILES:
            raise ValueError(f"{pattern}: {braces[0]} names no range of 1 to {_MOST_FILES:,} tar files")
        before, after = pattern[: braces.start()], pattern[braces.end() :]
        numbers = range(int(low), int(high) + 1)
        return [path for n in numbers for path in expand_tar_pattern(f"{before}{n:0{len(low)}}{after}")]
    if is_folder(pattern):
        return [join(pattern, name) for name in list_files(pattern) if name.endswith(".tar")]
    return [pattern]


def _index(path: str, skipped: Counter[str], unlabelled: bool) -> list[_Sample]:
    """List the samples of a tar file in the file's order; count what is no part of one in `skipped`."""
    samples: dict[str, _Sample] = {}
    beside: dict[str, dict[str, _Member]] = {}
    for entry in _entries(path):
        folder, slash, name = entry.name.rpartition("/")
        key, _, ending = name.partition(".")
        key, ending = folder + slash + key, ending.lower()
        if name.startswith("."):  # as in folders; macOS puts such beside every file
            continue
        if not entry.isreg() or entry.sparse is not None:
            if not entry.isdir():
                skipped[_kind_of(entry)] += 1
            continue
        member = _Member(entry.name, entry.offset_data, entry.size)
        if is_image_name(entry.name):
            if key in samples:
                raise ValueError(f"{path}: key {key} has two images, {samples[key].image.name} and {entry.name}")
            samples[key] = _Sample(path, member)
        elif kind := "label" if ending in _LABEL_ENDINGS else "json" if ending == "json" else "":
            if kind in (known := beside.setdefault(key, {})) and not unlabelled:
                raise ValueError(f"{path}: key {key} has two files of its class, {known[kind].name} and {entry.name}")
            known[kind] = member
        else:
            skipped[PurePosixPath(name).suffix.lower() or "(none)"] += 1
    for key, members in beside.items():
        if key in samples:
            samples[key].label, samples[key].json = members.get("label"), members.get("json")
        else:
            skipped.update(PurePosixPath(member.name).suffix.lower() for member in members.values())
    return list(samples.values())


def _kind_of(entry: tarfile.TarInfo) -> str:
    """What a member is that holds no bytes to read in place."""
    if entry.sparse is not None:
        return "(sparse file)"
    return "(hard link)" if entry.islnk() else "(link)" if entry.issym() else "(device or pipe)"


def _read_beside(samples: list[_Sample], which: str, at_most: int) -> Iterator[tuple[_Sample, _Member | None, bytes]]:
    """Yield the label's or the JSON file of each sample and its content; open each tar file once."""
    for path, group in groupby(samples, attrgetter("path")):
        with open_file(path) as file:
            for sample in group:
                member = getattr(sample, which)
                if member is not None:
                    file.seek(member.offset)
                yield sample, member, b"" if member is None else file.read(min(member.size, at_most + 1))


def _plain_labels(samples: list[_Sample]) -> list[tuple[str, str]]:
    """Return where the label of each sample stands, and its text, a number."""
    entries = []
    for sample, member, content in _read_beside(samples, "label", _MOST_LABEL_BYTES):
        if member is None:
            raise ValueError(f"{sample.path}: {sample.image.name} has no class beside it (.cls), others have one")
        text = content.decode("utf-8-sig", "replace").strip()
        if not is_number(text) or len(content) > _MOST_LABEL_BYTES:
            raise ValueError(f"{sample.path}: {member.name} holds {text[:40]!r}, expected a class index")
        entries.append((f"{sample.path}: {member.name}", text))
    return entries


def _json_labels(samples: list[_Sample]) -> list[tuple[str, str]]:
    """Return the labels in the samples' JSON files; nothing where the first has none."""
    entries: list[tuple[str, str]] = []
    field = None
    for sample, member, content in _read_beside(samples, "json", _MOST_JSON_BYTES):
        if member is None:
            raise ValueError(
                f"{sample.path}: {sample.image.name} has no JSON file, others have one; pass --unlabelled to leave "
                "labels out"
            )
        origin = f"{sample.path}: {member.name}"
        if len(content) > _MOST_JSON_BYTES:
            raise ValueError(f"{origin} has {member.size:,} bytes, expected the metadata of one image")
        metadata = parse_json_object(content, origin)
        if field is None and (field := next((name for name in _LABEL_FIELDS if name in metadata), None)) is None:
            return []
        value = metadata.get(field)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not str(value).strip():
            raise ValueError(f"{origin}: {field} is {shown(value)}, expected a class index or name")
        entries.append((origin, str(value).strip()))
    return entries


def _class_folders(pattern: str, names: list[str]) -> list[str]:
    """Return the first folder of each name below those that all names share; nothing where there is none."""
    parts = [PurePosixPath(name).parts[:-1] for name in names]
    shared = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))))
    if max(map(len, parts)) == shared:
        return []
    for name, folders in zip(names, parts, strict=True):
        if len(folders) == shared or ".." in folders:
            raise ValueError(
                f"{pattern}: images lie in folders inside the tar files, but {shown(name)} in none that could be its "
                "class; pass --unlabelled to leave labels out"
            )
    return [folders[shared] for folders in parts]


def _entries(path: str) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar file, one header at a time."""
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                yield member
            file.seek(archive.offset)  # `tarfile` takes a damaged header for the end
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it is damaged or cut off, its end is missing")
    except (tarfile.TarError, *PARSER_ERRORS) as error:
        raise ValueError(
            f"{path} is not an uncompressed tar file: {error}; unpack a compressed one, images gain nothing by it"
        ) from error
