"""Images in tar files, as webdataset lays them out: files that share a key up to the first dot are one sample."""

import re
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from seitpp.tokenization.sources.base import LARGEST_LABEL, ImageSource, is_image_name
from seitpp.tokenization.sources.files import file_system, is_folder, is_url, join, list_files, read_file

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


class TarSource(ImageSource):
    """Images inside uncompressed tar files, read in place. A member `KEY.cls` holds the class index as text.

    Args:
        pattern: A `.tar` file, a folder of them, or a pattern with a number range, `train-{000..127}.tar`.
        classes: Class names in the order of their indices.
        unlabelled: Leave out the `.cls` members.

    Raises:
        ValueError: A file is compressed or no tar file, there are no images, a key occurs twice or has two images, or
            only some have a class.
    """

    kind = "tar"

    def __init__(self, pattern: str, classes: list[str] | None = None, unlabelled: bool = False) -> None:
        self.paths = expand_tar_pattern(pattern)
        self.folders = (pattern,) if is_folder(pattern) else ()
        self.names, self._members, labels = [], [], []
        for number, path in enumerate(self.paths):
            file_name = path.replace("\\", "/").rpartition("/")[2]
            for key, (name, offset, size, label) in _index(path).items():
                self.names.append(f"{file_name}/{name}")
                self._members.append((number, offset, size))
                labels.append(None if unlabelled else label)
                if (label is None) != (labels[0] is None) and not unlabelled:
                    raise ValueError(
                        f"{path}: sample {key} has {'no' if label is None else 'a'} class (.cls), others differ"
                    )
        if not self.names:
            raise ValueError(f"{pattern} holds no images in its {len(self.paths)} tar files")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{pattern}: two tar files have the same name and hold images of the same name")
        if labels[0] is not None:
            self.labels, self.classes = np.array(labels, np.int64), classes
            if classes is not None and self.labels.max() >= len(classes):
                raise ValueError(
                    f"{pattern}: class {self.labels.max()} is not below {len(classes)}, the number of classes"
                )

    def read(self, index: int) -> bytes:
        """Bytes of an image's file."""
        number, offset, size = self._members[index]
        return read_file(self.paths[number], offset, size)


def expand_tar_pattern(pattern: str) -> list[str]:
    """The tar files that a pattern or folder names, in order."""
    if braces := _BRACES.search(pattern):
        low, high = braces.groups()
        numbers = (str(number).zfill(len(low)) for number in range(int(low), int(high) + 1))
        return [
            path
            for n in numbers
            for path in expand_tar_pattern(pattern[: braces.start()] + n + pattern[braces.end() :])
        ]
    if is_folder(pattern):
        return [join(pattern, name) for name in list_files(pattern) if name.endswith(".tar")]
    return [pattern]


def _index(path: str) -> dict[str, tuple[str, int, int, int | None]]:
    """Image name, offset, size and class of each key of a tar file, in the file's order."""
    images: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, int] = {}
    for member, archive in _members(path):
        folder, slash, name = member.name.rpartition("/")
        key, _, ending = name.partition(".")
        key = folder + slash + key
        if name.startswith("."):  # as in folders; macOS puts such beside every file
            continue
        if is_image_name(member.name):
            if key in images:
                raise ValueError(f"{path}: key {key} has two images, {images[key][0]} and {member.name}")
            images[key] = (member.name, member.offset_data, member.size)
        elif ending == "cls":
            text = archive.extractfile(member).read().decode("ascii", "replace").strip()
            if not text.isdecimal() or int(text[:20]) > LARGEST_LABEL:
                raise ValueError(f"{path}: {member.name} holds {text[:40]!r}, expected a class index")
            classes[key] = int(text)
    return {key: (*image, classes.get(key)) for key, image in images.items()}


def _members(path: str) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """The plain files of a tar file, with the open archive."""
    try:
        with _open(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep them all
                if member.isfile():
                    yield member, archive
            file.seek(archive.offset)  # `tarfile` takes a damaged header for the end
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it is damaged or cut off, its end is missing")
    except tarfile.TarError as error:
        raise ValueError(
            f"{path} is not an uncompressed tar file: {error}; unpack a compressed one, images gain nothing by it"
        ) from error


def _open(path: str) -> Any:
    if is_url(path):
        system, inner = file_system(path)
        return system.open(inner, "rb")
    return open(path, "rb")
