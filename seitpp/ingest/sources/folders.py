"""Images in folders: one folder per class, all together without labels, or with label maps beside them."""

import os
from collections import Counter
from collections.abc import Collection

import numpy as np

from seitpp.ingest.sources.base import ImageSource, count_endings, described_endings, is_image_name
from seitpp.ingest.sources.files import is_url, join, list_files, list_folders
from seitpp.ingest.sources.labels import is_number

_SPLITS = {"train", "val", "valid", "validation", "test", "training"}


class FolderSource(ImageSource):
    """`ROOT/CLASS/**/image.jpg`, classes in the order of their names; or, without class folders, unlabelled images.

    `files` is what `list_files` says of the folder, where that is known. With `unlabelled` every image below the folder
    is taken, whatever its sub-folders mean. Of the folders to `leave_out` nothing is taken.
    """

    kind = "folder"
    listable = True

    def __init__(
        self,
        root: str,
        unlabelled: bool = False,
        classes: list[str] | None = None,
        files: list[str] | None = None,
        leave_out: Collection[str] = (),
    ) -> None:
        self.root, self.folders, self._left_out = root, (root,), frozenset(leave_out)
        files = list_files(root) if files is None else files
        if leave_out:
            files = [name for name in files if name.split("/", 1)[0] not in self._left_out]
        self.names = [name for name in files if is_image_name(name)]
        self.skipped = count_endings(name for name in files if not is_image_name(name))
        if not self.names:
            kinds = described_endings(self.skipped)
            found = f"{len(files)} files of other kinds, such as {files[0]} ({kinds})" if files else "no files"
            raise ValueError(f"{root} holds no images: {found}; expected image files or one folder of them per class")
        nested = ["/" in name for name in self.names]
        if unlabelled or not any(nested):
            return
        if not all(nested):
            raise ValueError(
                f"{root} holds images beside class folders, such as {self.names[nested.index(False)]}; move them into "
                "a class, or pass --unlabelled to take all images without labels"
            )
        self._label(classes)

    def _label(self, classes: list[str] | None) -> None:
        folders = [name.split("/", 1)[0] for name in self.names]
        present = sorted(set(folders))
        refuse_splits(self.root, present)
        if empty := sorted(set(list_folders(self.root)) - set(present) - self._left_out):
            raise ValueError(f"{self.root}: class folder {empty[0]!r} holds no image; remove it or fill it")
        self._refuse_links(present)
        if classes is not None and (unknown := sorted(set(present) - set(classes))):
            raise ValueError(f"{self.root}: folder {unknown[0]!r} is not among the {len(classes)} class names given")
        self.classes = present if classes is None else list(classes)
        index = {name: number for number, name in enumerate(self.classes)}
        labels = np.array([index[folder] for folder in folders], np.int64)
        order = np.argsort(labels, kind="stable")  # the names' order puts "a b/" before "a/"
        self.names = [self.names[index] for index in order]
        self.labels = labels[order]

    def _refuse_links(self, folders: list[str]) -> None:
        """Refuse links by which a class would be lost, or have its images under two labels."""
        if is_url(self.root):
            return
        for name in sorted(os.listdir(self.root)):
            path = os.path.join(self.root, name)  # a link to itself is none of those: it leads to no class
            if not name.startswith(".") and os.path.islink(path) and not os.path.lexists(os.path.realpath(path)):
                raise ValueError(
                    f"{self.root}: {name!r} is a link that leads nowhere, perhaps a class; mend or remove it"
                )
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


class PairSource(ImageSource):
    """Images with label maps, as ADE20k keeps them: `images/SPLIT/a.jpg` and `annotations/SPLIT/a.png`.

    Each image has the label map of the same relative name, but for the ending.
    """

    kind = "pairs"

    def __init__(
        self, images: str, annotations: str, classes: list[str] | None = None, reduce_zero_label: bool = False
    ) -> None:
        self.root, self.folders = images, (images, annotations)
        self.classes, self.reduce_zero_label = classes, reduce_zero_label
        found, found_maps = list_files(images), list_files(annotations)
        self.names = [name for name in found if is_image_name(name)]
        self.skipped = count_endings(name for name in found + found_maps if not is_image_name(name))
        if not self.names:
            kinds = f": {described_endings(self.skipped)}" if self.skipped else ""
            raise ValueError(f"{images} holds no images{kinds}")
        maps = {_stem(name): name for name in found_maps if is_image_name(name)}
        stems = [_stem(name) for name in self.names]
        if len(set(stems)) != len(stems):
            twice = next(stem for stem, count in Counter(stems).items() if count > 1)
            raise ValueError(f"{images} holds two images that differ in their ending alone: {twice}")
        if lonely := [name for name, stem in zip(self.names, stems, strict=True) if stem not in maps]:
            raise ValueError(
                f"{len(lonely)} images in {images} have no annotation in {annotations}, such as {lonely[0]}; expected "
                f"{_stem(lonely[0])}.png there"
            )
        if unused := sorted(maps.keys() - set(stems)):
            raise ValueError(
                f"{len(unused)} annotations in {annotations} have no image in {images}, such as {maps[unused[0]]}"
            )
        self.label_maps = [join(annotations, maps[stem]) for stem in stems]


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.rpartition(".")[0]


def refuse_splits(source: str, folders: list[str]) -> None:
    """Raise `ValueError` for folders that are all named like splits, and so are no classes."""
    if set(folders) <= _SPLITS:
        raise ValueError(
            f"{source} holds the folders {', '.join(folders)}, which look like splits and not like classes; "
            f"name one with --split {folders[0]} (tokenize_images.py --unlabelled takes all images without labels)"
        )
