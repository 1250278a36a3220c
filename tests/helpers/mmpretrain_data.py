"""Tiny made-up data in the layouts of mmpretrain's data sets, with configs that open them."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mat4py
import numpy as np
from PIL import Image

Layout = Callable[[Path], dict[str, Any]]


def pictures(folder: Path, *names: str) -> None:
    """Write images of random pixels."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)


def lines(path: Path, *content: str) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in content))


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an idx file of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_files(folder: Path, count: int = 3, packed: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """Write MNIST's four files of so many images each; return the images per split."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, split in enumerate(("train", "t10k")):
        images = np.random.default_rng(seed + number).integers(0, 256, (count, 16, 16), np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(5, 5 + count).astype(np.uint8) % 10)):
            content = idx_bytes(array)
            path = folder / f"{split}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
        found[split] = images
    return found


def mnist(root: Path) -> dict[str, Any]:
    mnist_files(root)
    return {"split": "train"}


def custom(root: Path) -> dict[str, Any]:
    pictures(root, "a/5.png", "b/6.png", "b/7.png")
    return {}


def imagenet(root: Path) -> dict[str, Any]:
    pictures(root / "train", "n01/a.png", "n02/b.png", "n03/c.png")
    lines(root / "meta" / "train.txt", "n01/a.png 5", "n02/b.png 6", "n03/c.png 7")
    return {"split": "train"}


def places(root: Path) -> dict[str, Any]:
    pictures(root / "images", "a.jpg", "b.jpg", "c.jpg")
    lines(root / "train.txt", "a.jpg 5", "b.jpg 6", "c.jpg 7")
    return {"data_prefix": "images", "ann_file": "train.txt"}


def cub(root: Path) -> dict[str, Any]:
    pictures(root / "images", "6.a/a.jpg", "7.b/b.jpg", "8.c/c.jpg")
    lines(root / "images.txt", "1 6.a/a.jpg", "2 7.b/b.jpg", "3 8.c/c.jpg")
    lines(root / "image_class_labels.txt", "1 6", "2 7", "3 8")
    lines(root / "train_test_split.txt", "1 1", "2 1", "3 1")
    return {"split": "train"}


def flowers(root: Path) -> dict[str, Any]:
    pictures(root / "jpg", *(f"image_{number:05d}.jpg" for number in (1, 2, 3)))
    mat4py.savemat(str(root / "imagelabels.mat"), {"labels": [6, 7, 8]})
    mat4py.savemat(str(root / "setid.mat"), {"trnid": [1, 2], "valid": [3, 3], "tstid": [3, 3]})
    return {"split": "train"}


def food(root: Path) -> dict[str, Any]:
    names = ["beef_carpaccio/1", "beef_tartare/2", "beet_salad/3"]
    pictures(root / "images", *(f"{name}.jpg" for name in names))
    lines(root / "meta" / "train.txt", *names)
    return {"split": "train"}


def caltech(root: Path) -> dict[str, Any]:
    pictures(root / "101_ObjectCategories", "a/1.jpg", "b/2.jpg", "c/3.jpg")
    lines(root / "meta" / "train.txt", "a/1.jpg 5", "b/2.jpg 6", "c/3.jpg 7")
    return {"split": "train"}


def pets(root: Path) -> dict[str, Any]:
    pictures(root / "images", "a.jpg", "b.jpg", "c.jpg")
    lines(root / "annotations" / "trainval.txt", "a 6 1 1", "b 7 1 1", "c 8 1 1")
    return {"split": "trainval"}


def cars(root: Path) -> dict[str, Any]:
    pictures(root / "cars_train", "1.jpg", "2.jpg", "3.jpg")
    (root / "devkit").mkdir()
    annotations = {"fname": ["1.jpg", "2.jpg", "3.jpg"], "class": [6, 7, 8]}
    mat4py.savemat(str(root / "devkit" / "cars_train_annos.mat"), {"annotations": annotations})
    return {"split": "train"}


def several(root: Path) -> dict[str, Any]:
    """Images with several classes each."""
    pictures(root, "a.png", "b.png")
    entries = [{"img_path": "a.png", "gt_label": [3]}, {"img_path": "b.png", "gt_label": [0, 1]}]
    (root / "labels.json").write_text(json.dumps({"metainfo": {"classes": list("abcd")}, "data_list": entries}))
    return {"ann_file": "labels.json"}


def voc(root: Path) -> dict[str, Any]:
    pictures(root / "JPEGImages", "1.jpg", "2.jpg")
    lines(root / "ImageSets" / "Main" / "trainval.txt", "1", "2")
    for name, classes in (("1", ["cat"]), ("2", ["dog", "person"])):
        objects = (f"<object><name>{one}</name><difficult>0</difficult></object>" for one in classes)
        lines(root / "Annotations" / f"{name}.xml", f"<annotation>{''.join(objects)}</annotation>")
    return {"split": "trainval"}


def inshop(root: Path) -> dict[str, Any]:
    """Query images, whose labels are the numbers of images in a gallery."""
    pictures(root / "Img", "a.jpg", "b.jpg")
    lines(root / "Eval" / "list_eval_partition.txt", "2", "x", "a.jpg id1 query", "b.jpg id1 gallery")
    return {"split": "query"}


# Labelled with one class per image: 5, 6 and 7 but for the folders of `CustomDataset`, which are 0, 1 and 1.
ONE_CLASS: dict[str, Layout] = {
    "MNIST": mnist,
    "FashionMNIST": mnist,
    "CustomDataset": custom,
    "ImageNet": imagenet,
    "Places205": places,
    "CUB": cub,
    "Flowers102": flowers,
    "Food101": food,
    "Caltech101": caltech,
    "OxfordIIITPet": pets,
    "StanfordCars": cars,
}
# Labelled otherwise.
OTHER: dict[str, Layout] = {"MultiLabelDataset": several, "VOC": voc, "InShop": inshop}


def dataset_config(kind: str, root: Path) -> dict[str, Any]:
    """Write the data of a data set below a folder, and return the config that opens it."""
    root.mkdir(parents=True, exist_ok=True)
    options = {**ONE_CLASS, **OTHER}[kind](root)
    return {"type": f"mmpretrain.{kind}", "data_root": str(root), **options}
