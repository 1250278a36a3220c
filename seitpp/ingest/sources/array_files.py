"""Files of image arrays: idx (MNIST's layout), numpy's `.npy` and `.npz`, and CIFAR's binary version.

Anybody may have made them: sizes are compared before memory is taken, and nothing is unpickled.
"""

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from seitpp.ingest.sources.arrays import ArraySource
from seitpp.ingest.sources.files import exists, file_system, is_folder, join, open_file
from seitpp.ingest.sources.labels import read_class_names
from seitpp.io.text import shorten, shown
from seitpp.io.untrusted import gunzip, parse_npy, parsing

_MOST_BYTES = 2**33
_MOST_RATIO = 1032  # by which deflate can shrink bytes
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX = re.compile(r"idx\d-(ubyte|int)(\.gz)?$", re.IGNORECASE)
_IDX_IMAGES = re.compile(r"images?[.-]idx[34]-ubyte(\.gz)?$", re.IGNORECASE)
_IMAGE_WORD = re.compile(r"(images|imgs)(?!.*(images|imgs))")  # the last one in a name
_HELD_OUT = ("val", "test", "t10k")
_IMAGE_KEYS, _LABEL_KEYS = ("images", "imgs", "x", "data"), ("labels", "label", "y", "targets")
_CLASS_KEYS = ("classes", "class_names")
_REMEDY = "; pass --unlabelled to leave labels out"


def is_array_file(path: str) -> bool:
    """Whether a path is named as a file of arrays is."""
    return path.endswith((".npy", ".npz")) or _IDX.search(path) is not None


def open_array_file(
    path: str, split: str | None = None, classes: list[str] | None = None, unlabelled: bool = False
) -> ArraySource:
    """Open images in an idx, `.npy` or `.npz` file, with the labels in it or in the file beside it.

    Args:
        path: The file with images.
        split: Of a `.npz` file, whose arrays are named `SPLIT_images`, `x_SPLIT` or the like.
        classes: Class names in the order of their indices.
        unlabelled: Whether to leave labels out.
    """
    if path.endswith(".npz"):
        images, labels, named = _in_npz(path, split)
        classes = classes or named
    else:
        if split is not None:
            raise ValueError(f"{path} has no splits; leave out --split {split}")
        images, labels = _array_of(path), None
    if unlabelled:
        return ArraySource(path, images)
    if labels is None:
        labels = _labels_beside(path)
    notes = []
    if "emnist" in path.replace("\\", "/").rpartition("/")[2].lower() and path.lower().endswith(("ubyte", "ubyte.gz")):
        notes.append("EMNIST's files have rows and columns of its images swapped, and they are taken as they are")
    return ArraySource(path, images, labels, classes, notes)


def open_array_folder(
    folder: str, split: str | None, classes: list[str] | None, unlabelled: bool
) -> ArraySource | None:
    """Open a folder (or `raw` in it) with idx files, or one of CIFAR's binary version; None for any other folder."""
    place, names = _array_names(folder)
    if not names:
        return None
    if _IDX_IMAGES.search(names[0]):
        return open_array_file(join(place, _of_split(place, names, split)), None, classes, unlabelled)
    return _cifar(place, names, split, classes, unlabelled)


def array_splits(path: str) -> list[str]:
    """Return the splits of a folder or file of arrays, such as `train` and `test`; none of anything else."""
    if path.endswith(".npz"):
        names = _npz_names(path)
        return [split for split in ("train", "val", "test") if _key(names, _IMAGE_KEYS, split)]
    names = _array_names(path)[1] if is_folder(path) else []
    if any(name.startswith("data_batch_") or name == "train.bin" for name in names):
        return ["train", "test"]
    words = {word for name in names for word in re.split(r"[^a-z0-9]+", name.lower())}
    held_out = "val" if "val" in words else "test" if words & set(_HELD_OUT) else None
    return ["train", *([held_out] if held_out else [])] if "train" in words else []


def _array_names(folder: str) -> tuple[str, list[str]]:
    """Return the folder, or `raw` in it, that holds idx files or CIFAR, and the names of these; none elsewhere."""
    inner = join(folder, "raw")
    for place in (folder, *([inner] if is_folder(inner) else [])):
        names = _names_in(place)
        if idx := [name for name in names if _IDX_IMAGES.search(name)]:
            return place, idx
        if any(name.startswith("data_batch_") for name in names) or {"train.bin", "test.bin"} <= set(names):
            return place, names
    return folder, []


def _names_in(folder: str) -> list[str]:
    system, inner = file_system(folder)
    return sorted(entry.rstrip("/").replace("\\", "/").rpartition("/")[2] for entry in system.ls(inner, detail=False))


def _of_split(folder: str, names: Sequence[str], split: str | None) -> str:
    """Return the one file with images of a split; an unpacked one goes before the packed one of the same name."""
    names = [name for name in names if not (name.endswith(".gz") and name.removesuffix(".gz") in names)]
    words = {name: re.split(r"[^a-z0-9]+", name.lower()) for name in names}
    found = names if split is None else [name for name in names if split.lower() in words[name]]
    if not found and split in ("val", "test"):  # MNIST has one part that is held out
        found = [name for name in names if set(words[name]) & set(_HELD_OUT)]
    if len(found) == 1:
        return found[0]
    which = f"{len(found)} of them are of the split {split!r}" if split else "there are several"
    raise ValueError(
        f"{folder} holds the idx files {shorten(names, 8)}, and {which}; name one of them itself, or give --split "
        "train or test"
    )


def _read(path: str) -> bytes:
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        if size > _MOST_BYTES:
            raise ValueError(
                f"{path} has {size:,} bytes, over {_MOST_BYTES:,}; cut it, and merge the stores of the parts"
            )
        file.seek(0)
        return file.read(size)


def _array_of(path: str) -> np.ndarray:
    """Return the array in an idx, `.npy` or `.npz` file."""
    if path.endswith(".npz"):
        return _npz_array(path, None)
    return parse_npy(_read(path), path, "biufU") if path.endswith(".npy") else parse_idx(_read(path), path)


def parse_idx(content: bytes, source: str) -> np.ndarray:
    """Return the array in the bytes of an idx file, perhaps in gzip, of exactly the size that it declares."""
    packed = content.startswith(b"\x1f\x8b")
    head = content
    with parsing(source, "an idx file"):
        if packed:
            head = zlib.decompressobj(wbits=31).decompress(content, 64)
        zeros, code, ndim = struct.unpack_from(">HBB", head)
        if zeros or code not in _IDX_TYPES or not 1 <= ndim <= 8:
            raise ValueError(f"it starts with {head[:4].hex(' ')}, expected 00 00, a type and a number of dimensions")
        shape = struct.unpack_from(f">{ndim}I", head, 4)
        dtype, start = np.dtype(_IDX_TYPES[code]), 4 + 4 * ndim
        declared = start + math.prod(shape) * dtype.itemsize
        if declared > min(_MOST_BYTES, _MOST_RATIO * len(content) if packed else len(content)):
            raise ValueError(f"it declares {declared:,} bytes (shape {shown(shape)}), more than it can hold")
        if packed:
            content = gunzip(content, source, at_most=declared)
        if len(content) != declared:
            raise ValueError(f"it declares {declared:,} bytes (shape {shown(shape)}), and has {len(content):,}")
        array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array if array.dtype.isnative else array.astype(dtype.newbyteorder("="))


def _labels_beside(path: str) -> np.ndarray:
    """Read the file of labels beside one of images: the same name with `labels` for `images` and `idx1` for `idx3`."""
    folder, slash, name = path.rpartition("/")
    if not _IMAGE_WORD.search(name):
        raise ValueError(
            f"{path}: labels are looked for in a file named alike, with 'labels' in place of 'images', and this name "
            f"has no 'images'{_REMEDY}"
        )
    wanted = re.sub(r"idx[34]", "idx1", _IMAGE_WORD.sub("labels", name))
    names = [wanted, wanted.removesuffix(".gz") if wanted.endswith(".gz") else f"{wanted}.gz"]
    found = next((one for one in names if exists(f"{folder}{slash}{one}")), None)
    if found is None:
        raise FileNotFoundError(
            f"{path}: there is no file of its labels, {folder}{slash}{wanted}; put it there{_REMEDY.removeprefix(';')}"
        )
    return _array_of(f"{folder}{slash}{found}")


def _in_npz(path: str, split: str | None) -> tuple[np.ndarray, np.ndarray | None, list[str] | None]:
    """Return images, labels and class names of a `.npz` file, the last two where it has them."""
    names = _npz_names(path)
    image = _key(names, _IMAGE_KEYS, split)
    if image is None and split is None and len(names) == 1:
        image = names[0]  # as of one array without a name
    if image is None:
        wanted = f"{split}_images, x_{split}" if split else "images, x"
        raise ValueError(
            f"{path} holds the arrays {shorten(names, 12)}, and none is called {wanted} or the like; "
            + ("choose another --split" if split else "where they are of several splits, name one with --split")
        )
    label, named = _key(names, _LABEL_KEYS, split), _key(names, _CLASS_KEYS, None)
    classes = None if named is None else [str(name) for name in _npz_array(path, named).reshape(-1).tolist()]
    return _npz_array(path, image), None if label is None else _npz_array(path, label), classes


def _key(names: Sequence[str], keys: Sequence[str], split: str | None) -> str | None:
    wanted = [form for key in keys for form in ([key] if split is None else [f"{split}_{key}", f"{key}_{split}"])]
    return next((form for form in wanted if form in names), None)


def _npz_names(path: str) -> list[str]:
    with parsing(path, "a .npz file"), open_file(path) as file, zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _npz_array(path: str, name: str | None) -> np.ndarray:
    """Return an array of a `.npz` file; of one alone without `name`."""
    with parsing(path, "a .npz file of plain arrays"), open_file(path) as file, zipfile.ZipFile(file) as archive:
        entry = archive.infolist()[0] if name is None else archive.getinfo(f"{name}.npy")
        if entry.file_size > min(_MOST_BYTES, _MOST_RATIO * entry.compress_size + 1024):
            raise ValueError(f"{shown(entry.filename)} declares {entry.file_size:,} bytes, more than it can hold")
        content = archive.read(entry)
    return parse_npy(content, f"{path}, {shown(entry.filename)}", "biufU")


def _cifar(
    folder: str, names: Sequence[str], split: str | None, classes: list[str] | None, unlabelled: bool
) -> ArraySource:
    """Open CIFAR-10 or CIFAR-100 in its binary version: per image one label (two for CIFAR-100), then RGB planes."""
    hundred = "train.bin" in names
    parts = {
        "train": ["train.bin"] if hundred else [name for name in names if re.fullmatch(r"data_batch_\d+\.bin", name)],
        "test": ["test.bin" if hundred else "test_batch.bin"],
    }
    part = parts.get("test" if split == "val" else split or "")
    if not part:
        if "data_batch_1" in names:
            raise ValueError(
                f"{folder} holds CIFAR as pickled files, which can run code and are not opened; take the binary "
                "version (cifar-10-binary.tar.gz, unpacked)"
            )
        raise ValueError(f"{folder} holds CIFAR with the splits train and test; name one with --split")
    label_bytes = 2 if hundred else 1
    records = []
    for name in part:
        content = _read(join(folder, name))
        if not content or len(content) % (label_bytes + 3072):
            raise ValueError(
                f"{join(folder, name)} has {len(content):,} bytes, expected a multiple of {label_bytes + 3072}, the "
                "bytes per image of CIFAR's binary version: it is damaged or something else"
            )
        records.append(np.frombuffer(content, np.uint8).reshape(-1, label_bytes + 3072))
    rows = np.concatenate(records)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32)
    if unlabelled:
        return ArraySource(folder, images)
    listed = join(folder, "fine_label_names.txt" if hundred else "batches.meta.txt")
    if classes is None and exists(listed):
        classes = read_class_names(listed)
    return ArraySource(folder, images, rows[:, label_bytes - 1], classes)
