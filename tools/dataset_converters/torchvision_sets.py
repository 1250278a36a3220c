"""Turn a data set of torchvision into folders or arrays that tools/tokenize_images.py reads.

    python tools/dataset_converters/torchvision_sets.py FashionMNIST data/fashion --root data/raw --download
    python tools/dataset_converters/torchvision_sets.py OxfordIIITPet data/pets --root data/raw --masks

ROOT holds the download in torchvision's layout; with --download torchvision fetches it first and compares its MD5.
OUT, a new folder, gets SPLIT/CLASS/* with the splits and class names of torchvision, and classes.txt with these names
in the order of torchvision's labels. Image files are copied byte for byte; images in arrays (MNIST, FashionMNIST and
CIFAR) become PNG files, or one images.npz. Nothing is unpickled: CIFAR is read, and fetched, in its binary version.

EuroSAT has no splits: of each class the first 80 % by their numbers are for training, the others for validation.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from class_lists import LabelledImages
from flowers102 import read_flowers102
from image_sets import ImageSet, Part, describe_set, write_arrays, write_class_folders, write_pairs

from seitpp.ingest.sources import open_image_source
from seitpp.io.command_line import run_tool
from seitpp.io.text import shorten, shown
from seitpp.io.untrusted import parse_json_object, parsing, read_file

TRAIN_SHARE = 0.8  # of EuroSAT
TRIMAP_CLASSES = ("pet", "background", "border")  # 1, 2 and 3 in the files
_MOST_BYTES = 2**26  # of a list


@dataclass(frozen=True)
class Layout:
    """Where torchvision keeps a data set, and how it is read."""

    folder: str  # below ROOT
    files: tuple[str, ...]  # what must lie there
    sizes: dict[str, int]  # published number of images by split
    read: Callable[[Path, list[str]], ImageSet]  # of the folder and of splits


def read_arrays(folder: Path, splits: list[str], channels: int, classes: list[str] | None = None) -> ImageSet:
    """Read idx files or CIFAR's binary version; class names are those given, or those of the files."""
    parts = {}
    for split in splits:
        source = open_image_source(str(folder), split=split)
        pixels = [np.asarray(source.load(index, channels)[0]) for index in range(len(source))]
        parts[split] = Part(source.labels.tolist(), np.stack(pixels))
        classes = classes or source.classes
        if max(parts[split].labels) >= len(classes):
            raise ValueError(f"{folder}: {split} has the label {max(parts[split].labels)}, of {len(classes)} classes")
    return ImageSet(classes, parts)


def read_mnist(name: str) -> Callable[[Path, list[str]], ImageSet]:
    """Return the reader of `MNIST` or `FashionMNIST`, whose files hold no class names."""

    def read(folder: Path, splits: list[str]) -> ImageSet:
        import torchvision

        return read_arrays(folder, splits, channels=1, classes=list(getattr(torchvision.datasets, name).classes))

    return read


def read_cifar(folder: Path, splits: list[str]) -> ImageSet:
    """Read CIFAR-10 or CIFAR-100, which has its class names beside."""
    return read_arrays(folder, splits, channels=3)


def read_flowers(folder: Path, splits: list[str]) -> ImageSet:
    """Read Flowers102; its lists are MATLAB files."""
    found: LabelledImages = read_flowers102(folder, {"train": "train", "val": "val", "test": "test"})
    index = {name: number for number, name in enumerate(found.classes)}
    parts = {
        split: Part(
            [index[name] for _, name in found.images[split]], [folder / path for path, _ in found.images[split]]
        )
        for split in splits
    }
    return ImageSet(found.classes, parts)


def read_pets(folder: Path, splits: list[str]) -> ImageSet:
    """Read OxfordIIITPet: lines of `NAME CLASS SPECIES BREED`, classes from 1; trimaps are PNG files."""
    lists = {split: _pet_list(folder / "annotations" / f"{split}.txt") for split in ("trainval", "test")}
    name_of = {label: name.rpartition("_")[0] for entries in lists.values() for name, label in entries}
    if sorted(name_of) != list(range(len(name_of))):
        raise ValueError(f"{folder / 'annotations'}: classes are {shown(sorted(name_of))}, expected all from 1 on")
    classes = [" ".join(word.title() for word in name_of[label].split("_")) for label in sorted(name_of)]
    parts = {}
    for split in splits:
        names, labels = zip(*lists[split], strict=True)
        maps = [folder / "annotations" / "trimaps" / f"{name}.png" for name in names]
        parts[split] = Part(labels, [folder / "images" / f"{name}.jpg" for name in names], maps)
    return ImageSet(classes, parts)


def _pet_list(path: Path) -> list[tuple[str, int]]:
    entries = []
    for number, line in enumerate(
        read_file(path, "list", at_most=_MOST_BYTES).decode("utf-8", "replace").splitlines(), 1
    ):
        found = re.fullmatch(r"(\w+_\d+) (\d{1,3}) \d+ \d+", line.strip())
        if found is None or found[2] == "0":
            raise ValueError(f"{path}, line {number} is {shown(line)}, expected a name and three numbers from 1 on")
        entries.append((found[1], int(found[2]) - 1))
    if not entries:
        raise ValueError(f"{path} is empty, expected a line per image")
    return entries


def read_food(folder: Path, splits: list[str]) -> ImageSet:
    """Read Food101: `meta/SPLIT.json` has the images of each class."""
    classes, parts = None, {}
    for split in splits:
        path = folder / "meta" / f"{split}.json"
        listed = parse_json_object(read_file(path, "list", at_most=_MOST_BYTES), path)
        if classes not in (None, sorted(listed)):
            raise ValueError(f"{path} has other classes than the list of {splits[0]}")
        classes, labels, images = sorted(listed), [], []
        for label, name in enumerate(classes):
            with parsing(path, "lists of CLASS/NUMBER by class"):
                names = [re.fullmatch(r"\w+/\w+", one)[0] for one in listed[name]]
            images += [folder / "images" / f"{one}.jpg" for one in names]
            labels += [label] * len(names)
        parts[split] = Part(labels, images)
    return ImageSet(classes, parts)


def read_eurosat(folder: Path, splits: list[str]) -> ImageSet:
    """Read EuroSAT's class folders; its images are numbered within a class."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    images: dict[str, list[Path]] = {split: [] for split in ("train", "val")}
    labels: dict[str, list[int]] = {split: [] for split in images}
    for label, name in enumerate(classes):
        found = sorted((folder / name).glob("*.jpg"), key=lambda path: (len(path.name), path.name))
        num_train = round(TRAIN_SHARE * len(found))
        for split, part in (("train", found[:num_train]), ("val", found[num_train:])):
            images[split] += part
            labels[split] += [label] * len(part)
    return ImageSet(classes, {split: Part(labels[split], images[split]) for split in splits})


_MNIST_FILES = tuple(
    f"raw/{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin", "batches.meta.txt")
LAYOUTS = {
    "MNIST": Layout("MNIST", _MNIST_FILES, {"train": 60000, "test": 10000}, read_mnist("MNIST")),
    "FashionMNIST": Layout("FashionMNIST", _MNIST_FILES, {"train": 60000, "test": 10000}, read_mnist("FashionMNIST")),
    "CIFAR10": Layout("cifar-10-batches-bin", _CIFAR10_FILES, {"train": 50000, "test": 10000}, read_cifar),
    "CIFAR100": Layout(
        "cifar-100-binary",
        ("train.bin", "test.bin", "fine_label_names.txt"),
        {"train": 50000, "test": 10000},
        read_cifar,
    ),
    "Flowers102": Layout(
        "flowers-102", ("imagelabels.mat", "setid.mat"), {"train": 1020, "val": 1020, "test": 6149}, read_flowers
    ),
    "OxfordIIITPet": Layout(
        "oxford-iiit-pet",
        ("annotations/trainval.txt", "annotations/test.txt"),
        {"trainval": 3680, "test": 3669},
        read_pets,
    ),
    "Food101": Layout("food-101", ("meta/train.json", "meta/test.json"), {"train": 75750, "test": 25250}, read_food),
    "EuroSAT": Layout("eurosat/2750", (), {"train": 21600, "val": 5400}, read_eurosat),
}
# MD5 of the binary versions, as CIFAR's page gives them.
_CIFAR_MD5 = {"CIFAR10": "c32a1d4ab5d03f1284b67883e8d87530", "CIFAR100": "03b5dce01913d631647c71ecec9e9cb8"}


def download(name: str, root: Path) -> None:
    """Let torchvision fetch a data set into `root`, unless it lies there; CIFAR in its binary version."""
    import torchvision

    kind = getattr(torchvision.datasets, name)
    if name not in _CIFAR_MD5:
        kind(root, download=True)
    elif not (root / LAYOUTS[name].folder).is_dir():
        url = kind.url.replace("-python.", "-binary.")
        torchvision.datasets.utils.download_and_extract_archive(url, str(root), md5=_CIFAR_MD5[name])


def read_set(name: str, root: Path, splits: list[str]) -> ImageSet:
    """Read some splits of a data set.

    Raises:
        FileNotFoundError: A list, an image or a label map is missing.
        ValueError: A file is damaged, or a label is no class.
    """
    layout = LAYOUTS[name]
    folder = root / layout.folder
    if not folder.is_dir() and name in _CIFAR_MD5 and list(root.glob("cifar-10*-*py*")):
        raise ValueError(
            f"{root} holds {name} as pickled files, which can run code and are not opened; take the binary version, "
            f"whose archive has the folder {folder.name} (--download fetches it)"
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} does not exist; torchvision keeps {name} there: give --root the folder that holds "
            f"{layout.folder}, or --download"
        )
    missing = [file for file in layout.files if not any(Path(f"{folder / file}{end}").is_file() for end in ("", ".gz"))]
    if missing:
        raise FileNotFoundError(
            f"{folder} is no whole {name}: {shorten(missing)} {'is' if len(missing) == 1 else 'are'} missing; expected "
            "what its archives unpack to"
        )
    found = layout.read(folder, splits)
    if empty := [split for split, part in found.parts.items() if not len(part.labels)]:
        raise ValueError(f"{folder} has no images for {empty[0]}; expected those of {name}")
    return found


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(LAYOUTS), metavar="NAME", help=", ".join(LAYOUTS))
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, new")
    parser.add_argument("--root", type=Path, default=Path("data"), help="torchvision's folder (default: data)")
    parser.add_argument("--download", action="store_true", help="let torchvision fetch the set, if it is not in ROOT")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="some of the splits (default: all)")
    parser.add_argument("--format", choices=("png", "npz"), default="png", help="of images in arrays (default: png)")
    parser.add_argument(
        "--masks", action="store_true", help="OxfordIIITPet: trimaps as label maps, images/ and annotations/"
    )
    args = parser.parse_args(argv)
    known = list(LAYOUTS[args.name].sizes)
    args.splits = list(dict.fromkeys(args.splits or known))
    if unknown := [split for split in args.splits if split not in known]:
        parser.error(f"--splits {unknown[0]}: {args.name} has {', '.join(known)}")
    if args.masks and args.name != "OxfordIIITPet":
        parser.error(f"--masks: {args.name} has none, OxfordIIITPet has")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Read the set, write it, and say how many images it has and what comes next."""
    args = parse_args(argv)
    if args.download:
        download(args.name, args.root)
    found = read_set(args.name, args.root, args.splits)
    if args.masks:
        write_pairs(found, args.out, TRIMAP_CLASSES)
    elif args.format == "npz":
        write_arrays(found, args.out)
    else:
        write_class_folders(found, args.out)
    lines, warnings = describe_set(found, LAYOUTS[args.name].sizes)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    source = args.out / "images.npz" if args.format == "npz" else f"{args.out} --classes {args.out / 'classes.txt'}"
    options = " --reduce-zero-label" if args.masks else ""
    lines.append(
        f"next: python tools/tokenize_images.py TOKENIZER {source} OUT_STORE --split {' '.join(args.splits)}{options}"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
