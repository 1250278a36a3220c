"""iNaturalist 2018 or 2019 as lists for `tools/tokenize_images.py`; images stay where they are.

    python tools/dataset_converters/inaturalist.py data/inat2018 2018 --categories data/inat2018/categories.json

ROOT holds `trainYEAR.json`, `valYEAR.json` and the images, `train_valYEAR/`. Written are `train.csv`, `val.csv` and
`classes.txt`. The names in the two files are obfuscated; the published `categories.json` has the real ones. Names that
several categories have get their id behind.

Three orders of the classes are in use, and a head trained with one is useless with another: `id`, by category id (the
default; torchvision's); `name`, by name as text, as of sorted class folders; `first`, by the first annotation in the
training file (DeiT's).
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from class_lists import LabelledImages, make_lists

from seitpp.io.command_line import run_tool
from seitpp.io.text import shown
from seitpp.io.untrusted import parse_json, read_file

ORDERS = ("id", "name", "first")
_MOST_BYTES = 1 << 30
NUM_IMAGES = {2018: {"train": 437_513, "val": 24_426}, 2019: {"train": 265_213, "val": 3_030}}
NUM_CLASSES = {2018: 8142, 2019: 1010}


def read_inaturalist(
    root: str | Path, year: int, order: str = "id", categories: str | Path | None = None
) -> LabelledImages:
    """iNaturalist 2018 or 2019: `trainYEAR.json` and `valYEAR.json`, whose image paths are relative to their folder.

    Args:
        root: Folder of these files.
        year: In their names.
        order: Of the classes, one of `ORDERS`.
        categories: File with the list that takes the place of the one in the two files, whose names are obfuscated.
    """
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


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of trainYEAR.json, valYEAR.json and the images")
    parser.add_argument("year", type=int, choices=sorted(NUM_CLASSES), metavar="YEAR", help="2018 or 2019")
    parser.add_argument("--order", choices=ORDERS, default="id", help="order of the classes (default: id)")
    parser.add_argument("--categories", type=Path, metavar="FILE", help="categories.json with the real names")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the lists (default: ROOT)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the lists."""
    args = parse_args(argv)
    found = read_inaturalist(args.root, args.year, args.order, args.categories)
    make_lists(found, args.root, args.out, NUM_IMAGES[args.year], NUM_CLASSES[args.year])
    print(f"order of the classes: {args.order}")


def _read_json(path: Path) -> Any:
    return parse_json(read_file(path, "annotations", at_most=_MOST_BYTES), path)


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
    """Return file and category of each image, in the order of the annotations."""
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
    """Return ids of the categories in the order of their class indices."""
    if order != "first":
        return sorted(names) if order == "id" else sorted(names, key=lambda category: names[category])
    ids = list(dict.fromkeys(annotated))
    if absent := names.keys() - set(ids):
        raise ValueError(
            f"{path}: category {min(absent)} has no image there, so that it has no place in the order of first "
            "annotations; take the order by id"
        )
    return ids


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
