"""Images and labels of fine-grained data sets, from the annotation files that they are published with."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torchvision

from seitpp.ingest.class_lists import LabelledImages
from seitpp.io.matlab_file import parse_mat
from seitpp.io.untrusted import parse_json, read_file, shown

ORDERS = ("id", "name", "first")
_MOST_BYTES = 1 << 30


def read_flowers102(root: str | Path) -> LabelledImages:
    """Oxford Flowers-102: `jpg/`, `imagelabels.mat` and `setid.mat` as published.

    `train` is `trnid` and `valid` together, `test` is `tstid`, the largest of the three. Class names are torchvision's,
    in the order of the labels.

    Args:
        root: Folder of these files.

    Raises:
        FileNotFoundError: One of the two files is not there.
        ValueError: A file is damaged, the splits are swapped or overlap, or a label has no name.
    """
    classes = getattr(torchvision.datasets.Flowers102, "classes", None)
    if classes is None:
        raise ValueError(f"torchvision {torchvision.__version__} has no class names of Flowers-102; update it to 0.22")
    path = Path(root, "imagelabels.mat")
    labels = np.array(_integers(path, "labels", _read_mat(path, "labels")["labels"].ravel().tolist()))
    path = Path(root, "setid.mat")
    contents = _read_mat(path, "trnid", "valid", "tstid")
    parts = {name: _integers(path, name, ids.ravel().tolist()) for name, ids in contents.items()}
    sizes = ", ".join(f"{name} {len(ids)}" for name, ids in parts.items())
    if len(parts["tstid"]) <= max(len(parts["trnid"]), len(parts["valid"])):
        raise ValueError(
            f"{path}: the splits have the sizes {sizes}; expected tstid to be the largest (published: trnid 1,020, "
            "valid 1,020, tstid 6,149). Test and training images are swapped in some copies, take the published file"
        )
    counted = Counter(number for ids in parts.values() for number in ids)
    for number, times in counted.items():
        if not 1 <= number <= len(labels) or times > 1:
            raise ValueError(
                f"{path}: image {number} is named {times} times, expected each of 1 to {len(labels)} at most once"
            )
    if labels.size and not 1 <= labels.min() <= labels.max() <= len(classes):
        raise ValueError(f"{root}: labels are {labels.min()} to {labels.max()}, expected 1 to {len(classes)}")

    def listed(*names: str) -> list[tuple[str, str]]:
        numbers = [number for name in names for number in parts[name]]
        return [(f"jpg/image_{number:05d}.jpg", classes[int(labels[number - 1]) - 1]) for number in numbers]

    return LabelledImages(list(classes), {"train": listed("trnid", "valid"), "test": listed("tstid")})


def read_stanford_cars(root: str | Path) -> LabelledImages:
    """Stanford Cars from either of its two published forms, classes in the order of their labels.

    Either `cars_annos.mat` with `car_ims/`, or `devkit/cars_meta.mat` and `devkit/cars_train_annos.mat` with
    `cars_train/`, and `cars_test_annos_withlabels.mat`, beside or in `devkit/`, with `cars_test/`.

    Args:
        root: Folder of these files.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is damaged, or a label has no name.
    """
    root = Path(root)
    whole = root / "cars_annos.mat"
    if whole.exists():
        content = _read_mat(whole, "annotations", "class_names")
        classes = _texts(whole, content["class_names"])
        fields = _fields(whole, content["annotations"], "relative_im_path", "class", "test")
        rows = list(zip(_car_images(whole, fields[0], fields[1], classes), fields[2], strict=True))
        images = {
            split: [image for image, is_test in rows if bool(is_test) == (split == "test")]
            for split in ("train", "test")
        }
        return LabelledImages(classes, images)
    meta = root / "devkit" / "cars_meta.mat"
    classes = _texts(meta, _read_mat(meta, "class_names")["class_names"])
    labelled = "cars_test_annos_withlabels.mat"  # cars_test_annos.mat of the devkit has no labels
    paths = {
        "train": root / "devkit" / "cars_train_annos.mat",
        "test": root / labelled if (root / labelled).exists() else root / "devkit" / labelled,
    }
    images = {}
    for split, path in paths.items():
        names, labels = _fields(path, _read_mat(path, "annotations")["annotations"], "fname", "class")
        found = _car_images(path, names, labels, classes)
        images[split] = [(f"cars_{split}/{file}", name) for file, name in found]
    return LabelledImages(classes, images)


def read_inaturalist(
    root: str | Path, year: int, order: str = "id", categories: str | Path | None = None
) -> LabelledImages:
    """iNaturalist 2018 or 2019: `trainYEAR.json` and `valYEAR.json`, whose image paths are relative to their folder.

    Args:
        root: Folder of these files.
        year: In their names.
        order: Of the classes: `id`, their ids; `name`, their names as text, as of sorted folders; `first`, their first
            annotation in the training file.
        categories: File with the list that takes the place of the one in the two files, whose names are obfuscated.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The order is unknown, a file is damaged, an image or category that an annotation names does not
            exist, an image has no or several annotations, or the files do not belong together.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}, expected one of {', '.join(ORDERS)}")
    paths = {split: Path(root, f"{split}{year}.json") for split in ("train", "val")}
    contents = {split: _read_json(path) for split, path in paths.items()}
    names = _category_names(paths["train"], contents["train"])
    if _category_names(paths["val"], contents["val"]) != names:
        raise ValueError(f"{paths['val']} has other categories than {paths['train']}; take both of one year")
    if categories is not None:
        given = _category_names(Path(categories), {"categories": _read_json(Path(categories))})
        if given.keys() != names.keys():
            raise ValueError(f"{categories} has other ids than {paths['train']}; take the list of the same year")
        names = given
    labels = {split: _annotated(path, contents[split], names) for split, path in paths.items()}
    ids = _ordered(names, order, [category for _, category in labels["train"]], paths["train"])
    images = {split: [(file, names[category]) for file, category in rows] for split, rows in labels.items()}
    return LabelledImages([names[category] for category in ids], images)


def _read_mat(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Some variables of a MATLAB file, without axes of length 1, at least one-dimensional."""
    content = parse_mat(_read_annotations(path), path)
    if absent := [name for name in names if name not in content]:
        found = ", ".join(name for name in content if not name.startswith("__"))
        raise ValueError(f"{path} has no variable {absent[0]!r}, only {found or 'none'}; is it another file?")
    return {name: np.atleast_1d(content[name]) for name in names}


def _fields(path: Path, records: np.ndarray, *names: str) -> list[list[Any]]:
    """Columns of a MATLAB struct array."""
    present = records.dtype.names or ()
    if absent := [name for name in names if name not in present]:
        raise ValueError(
            f"{path}: annotations have the fields {', '.join(present) or 'none'}, expected {absent[0]!r} too"
        )
    return [records[name].tolist() for name in names]


def _texts(path: Path, names: np.ndarray) -> list[str]:
    if strange := [name for name in names.ravel().tolist() if not isinstance(name, str)]:
        raise ValueError(f"{path}: class_names holds {shown(strange[0])}, expected text")
    return [name.strip() for name in names.ravel().tolist()]


def _car_images(path: Path, files: list[Any], labels: list[Any], classes: list[str]) -> list[tuple[str, str]]:
    """Each file with the name of its class; labels count from 1."""
    labels = _integers(path, "class", labels)
    if wrong := [label for label in labels if not 1 <= label <= len(classes)]:
        raise ValueError(f"{path}: label {wrong[0]} is not among 1 to {len(classes)}")
    if strange := [file for file in files if not isinstance(file, str)]:
        raise ValueError(f"{path}: {shown(strange[0])} is named as an image, expected the name of a file")
    return [(file, classes[label - 1]) for file, label in zip(files, labels, strict=True)]


def _integers(path: Path, name: str, values: list[Any]) -> list[int]:
    """Values of a MATLAB file as integers, which it may keep as floats."""
    wrong = [one for one in values if not isinstance(one, int | float) or not math.isfinite(one) or one != int(one)]
    if wrong:
        raise ValueError(f"{path}: {name} holds {shown(wrong[0])}, expected integers")
    return [int(one) for one in values]


def _read_json(path: Path) -> Any:
    return parse_json(_read_annotations(path), path)


def _read_annotations(path: Path) -> bytes:
    try:
        return read_file(path, "annotations", at_most=_MOST_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; unpack the annotations there") from None


def _entries(path: Path, content: Any, key: str, *fields: str) -> list[dict[str, Any]]:
    """A list of a JSON file, whose entries have the given fields: ids, which are integers, and names of files."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} has no list {key!r}; expected images, annotations and categories, as COCO's files")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or any(field not in entry for field in fields):
            raise ValueError(
                f"{path}: entry {number} of {key!r} is {shown(entry)}, expected the fields {', '.join(fields)}"
            )
        for field in fields:
            kind = str if field == "file_name" else int
            if type(entry[field]) is not kind:
                raise ValueError(
                    f"{path}: {field} in entry {number} of {key!r} is {shown(entry[field])}, expected {kind.__name__}"
                )
    return entries


def _category_names(path: Path, content: Any) -> dict[int, str]:
    """Name of each category by its id; the id where there is none, and behind a name that several have."""
    entries = _entries(path, content, "categories", "id")
    names = {entry["id"]: str(entry.get("name", entry["id"])).strip() for entry in entries}
    if len(names) != len(entries):
        raise ValueError(f"{path}: two categories have the same id")
    times = Counter(names.values())
    return {number: f"{name} ({number})" if times[name] > 1 else name for number, name in names.items()}


def _annotated(path: Path, content: Any, names: dict[int, str]) -> list[tuple[str, int]]:
    """File and category of each image, in the order of the annotations."""
    images = _entries(path, content, "images", "id", "file_name")
    files = {image["id"]: image["file_name"] for image in images}
    if len(files) != len(images):
        raise ValueError(f"{path}: two images have the same id")
    category_of: dict[int, int] = {}
    for entry in _entries(path, content, "annotations", "image_id", "category_id"):
        image, category = entry["image_id"], entry["category_id"]
        if image not in files:
            raise ValueError(f"{path}: an annotation names image {image!r}, which is not among the {len(files)} images")
        if category not in names:
            raise ValueError(f"{path}: image {image} has category {category!r}, which is not among the {len(names)}")
        if image in category_of:
            raise ValueError(f"{path}: image {image} has two annotations, expected one")
        category_of[image] = category
    if bare := files.keys() - category_of.keys():
        raise ValueError(f"{path}: {len(bare)} images have no annotation, such as {min(map(str, bare))}")
    return [(files[image], category) for image, category in category_of.items()]


def _ordered(names: dict[int, str], order: str, annotated: list[int], path: Path) -> list[int]:
    """Ids of the categories in the order of their class indices."""
    if order != "first":
        return sorted(names) if order == "id" else sorted(names, key=lambda category: names[category])
    ids = list(dict.fromkeys(annotated))
    if absent := names.keys() - set(ids):
        raise ValueError(
            f"{path}: category {min(absent)} has no image there, so that it has no place in the order of first "
            "annotations; take the order by id"
        )
    return ids
