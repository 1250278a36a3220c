"""Opening any source of images by its path."""

import re
from typing import Any

from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest.sources.array_files import is_array_file, open_array_file, open_array_folder
from seitpp.ingest.sources.base import ImageSource, is_image_name
from seitpp.ingest.sources.files import exists, is_folder, join, list_files, list_folders
from seitpp.ingest.sources.folders import FolderSource, PairSource
from seitpp.ingest.sources.labels import read_class_names
from seitpp.ingest.sources.lists import ListSource
from seitpp.ingest.sources.merged import MergedSource, paths_of
from seitpp.ingest.sources.mm_dataset import MMDatasetSource
from seitpp.ingest.sources.tars import TarSource

_COMPRESSED = re.compile(r"\.(tgz|tar\.\w+)$")


def open_image_source(
    path: str,
    *,
    split: str | None = None,
    root: str | None = None,
    classes_file: str | None = None,
    annotations: str | None = None,
    reduce_zero_label: bool = False,
    unlabelled: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImageSource:
    """Open images by the form of their path.

    Args:
        path: A folder (classes, ADE20k-like pairs, tar files, idx files, CIFAR's binary version), a `.txt` or `.csv`
            list, a `.tar` file or pattern of them, an idx, `.npy` or `.npz` file of images, or an OpenMMLab config
            (`.py`). Any may be a URL that fsspec knows, but for the config. Several, with commas between them, become
            one source whose classes are united by name.
        split: Sub-folder of that name, or the split of a config, of idx files or in a `.npz` file.
        root: Folder of the paths in a list.
        classes_file: Class names, one per line, in the order of their indices.
        annotations: Folder of label maps for the images in `path`.
        reduce_zero_label: Whether 0 in the label maps means "ignore".
        unlabelled: Whether to leave labels and label maps out.
        max_pixels: Most pixels that an image or label map may have; larger ones count as unreadable.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: What lies there is not a usable source: there are no images, or their labels are missing,
            contradictory, or leave open what is meant.
    """
    if max_pixels < 1:
        raise ValueError(f"max_pixels is {max_pixels}, expected a positive number of pixels")
    options = {
        "--split": split,
        "--root": root,
        "--classes": read_class_names(classes_file) if classes_file else None,
        "--annotations": annotations,
        "--reduce-zero-label": reduce_zero_label,
        "--unlabelled": unlabelled,
    }
    paths = paths_of(str(path))
    if len(paths) > 1 and annotations is not None:
        raise ValueError(f"{path} names several sources, for which --annotations means nothing; leave it out")
    parts = [_open(one, options) for one in paths]
    for source in parts:
        source.max_pixels, source.unlabelled = max_pixels, unlabelled
    source = parts[0] if len(parts) == 1 else MergedSource(paths, parts)
    source.max_pixels, source.unlabelled = max_pixels, unlabelled
    for name in source.classes or ():  # of folders, for one
        if any("\ud800" <= character <= "\udfff" for character in str(name)):
            raise ValueError(f"class folder {name!r} has a name that is no text in UTF-8; rename it")
    return source


def _open(path: str, options: dict[str, Any]) -> ImageSource:
    """Open images; `options` are those of the command line by their names."""

    def allow(what: str, *allowed: str) -> None:
        for option, value in options.items():
            if value and option not in allowed:
                raise ValueError(f"{path} is {what}, for which {option} means nothing; leave it out")

    split, classes, unlabelled = options["--split"], options["--classes"], options["--unlabelled"]
    if path.endswith(".py"):
        allow("a config", "--split", "--unlabelled")
        return MMDatasetSource(path, split or "train", unlabelled)
    if path.endswith((".txt", ".csv")):
        allow("a list", "--root", "--classes", "--unlabelled")
        _require(path)
        return ListSource(path, options["--root"], classes, unlabelled)
    if path.endswith(".tar"):
        allow("a tar file", "--classes", "--unlabelled")
        return TarSource(path, classes, unlabelled)
    _require(path)
    if not is_folder(path) and is_array_file(path):
        allow("a file of arrays", "--split", "--classes", "--unlabelled")
        return open_array_file(path, split, classes, unlabelled)
    if not is_folder(path):
        hint = "; unpack it, compressed tar files cannot be read in place" if _COMPRESSED.search(path) else ""
        raise ValueError(
            f"{path} is not a source of images; expected a folder, a .txt, .csv, .tar, .npy, .npz or idx file, or a "
            f"config (.py){hint}"
        )
    if (arrays := open_array_folder(path, split, classes, unlabelled)) is not None:
        allow("a folder of arrays", "--split", "--classes", "--unlabelled")
        return arrays
    images, maps, reduced = join(path, "images"), options["--annotations"], options["--reduce-zero-label"]
    pairs = maps is None and is_folder(images) and is_folder(join(path, "annotations"))
    if pairs and not unlabelled:
        allow("a folder with annotations", "--split", "--classes", "--reduce-zero-label")
        return PairSource(_sub(images, split), _sub(join(path, "annotations"), split), classes, reduced)
    folder = _sub(images if pairs else path, split)
    if maps is not None:
        allow("a folder with annotations", "--split", "--classes", "--annotations", "--reduce-zero-label")
        return PairSource(folder, maps, classes, reduced)
    files = list_files(folder)
    if any(name.endswith(".tar") for name in files) and not any(is_image_name(name) for name in files):
        allow("a folder of tar files", "--split", "--classes", "--unlabelled")
        return TarSource(folder, classes, unlabelled)
    allow("a folder without annotations", "--split", "--classes", "--unlabelled")
    return FolderSource(folder, unlabelled, classes, files)


def _sub(folder: str, split: str | None) -> str:
    if split is None:
        return folder
    inner = join(folder, split)
    if not is_folder(inner):
        present = ", ".join(list_folders(folder)[:10]) or "none"
        raise FileNotFoundError(
            f"{inner} does not exist; --split {split} names a sub-folder of {folder}, where there are: {present}"
        )
    return inner


def _require(path: str) -> None:
    if not exists(path):
        raise FileNotFoundError(f"{path} does not exist; expected images: a folder, a list, tar files or a config")
