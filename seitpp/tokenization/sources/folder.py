"""Images in a folder: one folder a class, or all together without labels."""

import numpy as np

from seitpp.tokenization.sources.base import ImageSource, is_image_name
from seitpp.tokenization.sources.files import join, list_files, list_folders, read_file

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
        if not self.names:
            found = f"{len(files)} files of other kinds, such as {files[0]}" if files else "no files"
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
        if set(present) <= _SPLITS:
            raise ValueError(
                f"{self.root} holds the folders {', '.join(present)}, which look like splits and not like classes; "
                f"name one with --split {present[0]}, or pass --unlabelled to take all images without labels"
            )
        if empty := sorted(set(list_folders(self.root)) - set(present)):
            raise ValueError(f"{self.root}: class folder {empty[0]!r} holds no image; remove it or fill it")
        if classes is not None and (unknown := sorted(set(present) - set(classes))):
            raise ValueError(f"{self.root}: folder {unknown[0]!r} is not among the {len(classes)} class names given")
        self.classes = present if classes is None else list(classes)
        index = {name: number for number, name in enumerate(self.classes)}
        labels = np.array([index[folder] for folder in folders], np.int64)
        order = np.argsort(labels, kind="stable")  # the names' order puts "a b/" before "a/"
        self.names = [self.names[place] for place in order]
        self.labels = labels[order]
