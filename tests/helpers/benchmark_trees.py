"""Tiny trees with the layouts of the robustness sets."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.ingest.sources.benchmarks.imagenet_r_classes import IMAGENET_R_CLASSES
from seitpp.ingest.sources.benchmarks.objectnet_mapping import FILES

# Folder and label, and the indices of three of ObjectNet's labels: one has three.
OBJECTNET = {
    "chair": ("Chair", (423, 559, 765)),
    "bicycle": ("Bicycle", (444, 671)),
    "banana": ("Banana", (954,)),
}
OBJECTNET_UNMAPPED = {"air_freshener": "Air freshener", "briefcase": "Briefcase"}


def imagenet_classes() -> list[str]:
    """1000 WordNet ids in order: those of ImageNet-R where they belong, and made-up ones between them."""
    name_of = {index: name for name, index in IMAGENET_R_CLASSES.items()}
    classes = ["n01440764"]
    for index in range(1, 1000):
        classes.append(name_of.get(index) or f"n{int(classes[-1][1:]) + 1:08}")
    return classes


def class_folders(root: Path, classes: Iterable[str], per_class: int = 1, size: int = 8, mode: str = "RGB") -> Path:
    """Write images of random pixels in a folder per class."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (per_class, size, size, 3), np.uint8)
        for image, values in enumerate(pixels):
            Image.fromarray(values).convert(mode).save(root / name / f"{image}.png")
    return root


def imagenet_r(root: Path, per_class: int = 1, size: int = 8) -> Path:
    """ImageNet-R: 200 folders, and the readme of its archive."""
    class_folders(root, IMAGENET_R_CLASSES, per_class, size)
    (root / "README.txt").write_text("renditions")
    return root


def imagenet_sketch(root: Path, per_class: int = 1, size: int = 8, classes: Sequence[str] = ()) -> Path:
    """ImageNet-Sketch: 1000 folders of greyscale images."""
    return class_folders(root, classes or imagenet_classes(), per_class, size, mode="L")


def objectnet(root: Path, per_class: int = 1, size: int = 12) -> Path:
    """ObjectNet's folders `images` and `mappings`: three folders of ImageNet's classes, and two of none."""
    class_folders(root / "images", [*OBJECTNET, *OBJECTNET_UNMAPPED], per_class, size)
    write_mappings(root / "mappings")
    return root


def write_mappings(folder: Path) -> Path:
    """Write ObjectNet's mapping files; line L of the names is class 999 - L."""
    labels = {name: label for name, (label, _) in OBJECTNET.items()}
    contents = (
        {**labels, **OBJECTNET_UNMAPPED},
        {label: "; ".join(f"class {index}, thing" for index in indices) for label, indices in OBJECTNET.values()},
        {str(index): 999 - index for index in range(1000)},
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, contents, strict=False):
        (folder / name).write_text(json.dumps(content))
    (folder / FILES[-1]).write_text("".join(f"class {999 - line}, thing\n" for line in range(1000)))
    return folder


def imagenet_c(root: Path, classes: Iterable[str], corruption: str = "gaussian_noise", per_class: int = 1) -> Path:
    """Folders of a corruption of ImageNet-C, `CORRUPTION/SEVERITY/CLASS/x.png`; the one of the corruption."""
    classes = list(classes)
    for severity in range(1, 6):
        class_folders(root / corruption / str(severity), classes, per_class)
    return root / corruption
