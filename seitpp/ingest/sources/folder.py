"""Images in a folder: one folder a class, or all together without labels."""

import os

import numpy as np

from seitpp.ingest.sources.base import ImageSource, count_endings, described_endings, is_image_name
from seitpp.ingest.sources.files import is_url, join, list_files, list_folders, read_file
from seitpp.ingest.sources.labels import is_number

_SPLITS = {"train", "val", "valid", "validation", "test", "training"}


class FolderSource(ImageSource):
    """`ROOT/CLASS/**/image.jpg`, classes in the order of their names; or, without class folders, unlabelled images.

    Args:
        root: The folder.
        unlabelled: Take every image below the folder, whatever its sub-folders mean.
        classes: Class names in the order of their indices, where this is not that of the names.
        files: What `list_files` says of the folder, where that is known.

    Raises:
        ValueError: There are no images, a class has none, or images lie beside class folders.
    """

    kind = "folder"

    def __init__(
        self,
        root: str,
        unlabelled: bool = False,
        classes: list[str] | None = None,
        files: list[str] | None = None,
    ) -> None:
        self.root, self.folders = root, (root,)
        files = list_files(root) if files is None else files
        self.names = [name for name in files if is_image_name(name)]
        self.skipped = count_endings(name for name in files if not is_image_name(name))
        if not self.names:
            kinds = described_endings(self.skipped)
            found = f"{len(files)} files of other kinds, such as {files[0]} ({kinds})" if files else "no files"
            raise ValueError(f"{root} holds no images: {found}; expected image files or one folder of them a class")
        nested = ["/" in name for name in self.names]
        if unlabelled or not any(nested):
            return
        if not all(nested):
            raise ValueError(
                f"{root} holds images beside class folders, such as {self.names[nested.index(False)]}; move them into "
                "a class, or pass --unlabelled to take all images without labels"
            )
        self._label(classes)

    def read(self, index: int) -> bytes:
        """Bytes of an image's file."""
        return read_file(join(self.root, self.names[index]))

    def _label(self, classes: list[str] | None) -> None:
        folders = [name.split("/", 1)[0] for name in self.names]
        present = sorted(set(folders))
        refuse_splits(self.root, present)
        if empty := sorted(set(list_folders(self.root)) - set(present)):
            raise ValueError(f"{self.root}: class folder {empty[0]!r} holds no image; remove it or fill it")
        self._refuse_links(present)
        if classes is not None and (unknown := sorted(set(present) - set(classes))):
            raise ValueError(f"{self.root}: folder {unknown[0]!r} is not among the {len(classes)} class names given")
        self.classes = present if classes is None else list(classes)
        index = {name: number for number, name in enumerate(self.classes)}
        labels = np.array([index[folder] for folder in folders], np.int64)
        order = np.argsort(labels, kind="stable")  # the names' order puts "a b/" before "a/"
        self.names = [self.names[place] for place in order]
        self.labels = labels[order]

    def _refuse_links(self, folders: list[str]) -> None:
        """Refuse links by which a class would be lost, or have its images under two labels."""
        if is_url(self.root):
            return
        targets = {name: os.path.join(self.root, name) for name in os.listdir(self.root) if not name.startswith(".")}
        # Not one to itself, which leads to no other place.
        lost = (
            name
            for name, path in targets.items()
            if os.path.islink(path) and not os.path.lexists(os.path.realpath(path))
        )
        if (name := min(lost, default=None)) is not None:
            raise ValueError(f"{self.root}: {name!r} is a link that leads nowhere, perhaps a class; mend or remove it")
        first: dict[str, str] = {}
        for folder in folders:
            other = first.setdefault(os.path.realpath(join(self.root, folder)), folder)
            if other != folder:
                raise ValueError(
                    f"{self.root}: class folders {other!r} and {folder!r} are one and the same folder, by a link; its "
                    "images would have two labels: remove one"
                )

    def _label_warnings(self) -> list[str]:
        lines, classes = super()._label_warnings(), self.classes or []
        if classes == sorted(classes) and all(is_number(name) for name in classes):
            moved = [(name, index) for index, name in enumerate(classes) if float(name) != index]
            if moved and [float(name) for name in classes] != sorted(map(float, classes)):
                lines.append(
                    f"class folders are numbers, and are ordered as text: folder {moved[0][0]!r} is class "
                    f"{moved[0][1]}; give another order with --classes FILE"
                )
        return lines


def refuse_splits(source: str, folders: list[str]) -> None:
    """Refuse folders that are named like splits, and so are no classes.

    Raises:
        ValueError: All are.
    """
    if set(folders) <= _SPLITS:
        raise ValueError(
            f"{source} holds the folders {', '.join(folders)}, which look like splits and not like classes; "
            f"name one with --split {folders[0]}, or pass --unlabelled to take all images without labels"
        )
