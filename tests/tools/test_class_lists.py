"""Lists of labelled images, class names, and the annotation files of fine-grained data sets."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import class_lists
import numpy as np
import pytest
from class_lists import (
    LabelledImages,
    describe_classes,
    images_of_classes,
    read_classes_list,
    unexpected_counts,
    write_image_lists,
)
from flowers102 import read_flowers102
from inaturalist import read_inaturalist
from scipy.io import savemat
from stanford_cars import read_stanford_cars
from torchvision.datasets import Flowers102

from seitpp.ingest import open_image_source
from seitpp.ingest.sources import read_class_names
from seitpp.storage.stats import class_names_hash

# mat4py does not close a file that it cannot read.
left_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# Lists and names


def test_a_list_comes_back_as_it_was_written(tmp_path: Path) -> None:
    classes = ["Ram C/V, van", 'the "big" one', "10", "2"]
    images = {"train": [("a/1.jpg", "2"), ("a/2.jpg", classes[0])], "val": [("b, c/1.jpg", classes[1])]}
    touch(tmp_path / "root", *(path for rows in images.values() for path, _ in rows))
    lists = write_image_lists(LabelledImages(classes, images), tmp_path / "root", tmp_path / "out")
    assert [path.name for path in lists] == ["train.csv", "val.csv"]
    for path, rows in zip(lists, images.values(), strict=True):
        source = open_image_source(
            str(path), root=str(tmp_path / "root"), classes_file=str(tmp_path / "out" / "classes.txt")
        )
        assert source.classes == classes
        assert [(name, classes[label]) for name, label in zip(source.names, source.labels, strict=True)] == rows


@pytest.mark.parametrize(
    ("classes", "rows", "message"),
    [
        (["a", "a"], [("1.jpg", "a")], "class name 'a' stands for two classes"),
        (["a\nb"], [("1.jpg", "a\nb")], r"class name 'a\\nb' is not one line"),
        ([" a"], [("1.jpg", " a")], "class name ' a' is not one line without blanks around it"),
        (["a"], [], "train: no images are listed"),
        (["a"], [("1.jpg", "b")], "train: label 'b' of 1.jpg is not among the 1 classes"),
        (["a"], [("1.jpg", "a"), ("1.jpg", "a")], "train: 1.jpg is listed twice, first in train"),
    ],
)
def test_lists_that_make_no_sense_are_refused(tmp_path: Path, classes: list, rows: list, message: str) -> None:
    touch(tmp_path, "1.jpg")
    with pytest.raises(ValueError, match=message):
        write_image_lists(LabelledImages(classes, {"train": rows}), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class_names_of_other_lists_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    found = LabelledImages(["ant", "bee"], {"train": [("a.jpg", "ant")]})
    for _ in range(2):  # the same again is no other
        write_image_lists(found, tmp_path, tmp_path)
    for names in ("bee\nant\n", "ant\nbee\ncat\n"):
        (tmp_path / "classes.txt").write_text(names)
        with pytest.raises(FileExistsError, match=r"classes.txt exists and holds other class names, or the same in an"):
            write_image_lists(found, tmp_path, tmp_path)
        assert (tmp_path / "classes.txt").read_text() == names


def test_missing_images_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg")
    found = LabelledImages(["a"], {"train": [("x/1.jpg", "a"), ("x/2.jpg", "a"), ("y/1.jpg", "a")]})
    with pytest.raises(FileNotFoundError, match=r"2 of 3 images are missing, such as .*x/2\.jpg; unpack"):
        write_image_lists(found, tmp_path, tmp_path / "out")


def test_unexpected_counts() -> None:
    found = LabelledImages(["a", "b"], {"train": [("1", "a")] * 3, "test": [("2", "b")]})
    assert unexpected_counts(found, {"train": 3, "test": 1}, 2) == []
    assert unexpected_counts(found, {"train": 2040, "test": 1}, 102) == [
        "classes: 2, published are 102",
        "train images: 3, published are 2,040",
    ]


def test_hash_is_that_of_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_names_hash(["n01", "n02"]) == "031c1f842fd4366e"  # printf 'n01\nn02' | sha256sum
    assert class_names_hash(["n02", "n01"]) != class_names_hash(["n01", "n02"])
    assert describe_classes(["n01", "n02"]) == "2 classes, hash 031c1f842fd4366e"
    monkeypatch.setitem(class_lists.KNOWN_LISTS, "031c1f842fd4366e", "the short list")
    assert describe_classes(["n01", "n02"]) == "2 classes, hash 031c1f842fd4366e, the short list"


def test_classes_to_keep_are_sorted(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("n03\n\n n01 \r\nn02")
    assert read_classes_list(tmp_path / "list.txt") == ["n01", "n02", "n03"]
    (tmp_path / "list.txt").write_text("n03\nn01\n\nn03\n")
    with pytest.raises(ValueError, match=r"list.txt, line 4: class 'n03' is named already in line 1"):
        read_classes_list(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt names no classes"):
        read_classes_list(tmp_path / "list.txt")


def test_order_of_classes_from_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("b\na\n")
    touch(tmp_path / "images", "n02/1.jpg", "n01/1.jpg", "readme.txt", ".cache/x")
    assert read_class_names(str(tmp_path / "names.txt")) == ["b", "a"]
    assert read_class_names(str(tmp_path / "images")) == ["n01", "n02"]
    with pytest.raises(ValueError, match="n01 has no sub-folders; expected one per class"):
        read_class_names(str(tmp_path / "images" / "n01"))


def test_images_of_some_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "n03/b.JPEG", "n03/a.JPEG", "n03/notes.txt", "n01/deep/c.png", "n02/d.png", "n04/notes.txt")
    assert images_of_classes(tmp_path, ["n01", "n03"])[0] == [
        ("n01/deep/c.png", "n01"),
        ("n03/a.JPEG", "n03"),
        ("n03/b.JPEG", "n03"),
    ]
    with pytest.raises(FileNotFoundError, match="no folder for 2 of the 3 classes, such as 'n05'"):
        images_of_classes(tmp_path, ["n01", "n05", "n06"])
    for name in ("../" + tmp_path.name, "n01/deep", str(tmp_path), ".."):
        with pytest.raises(FileNotFoundError, match="no folder for 1 of the 1 classes"):
            images_of_classes(tmp_path, [name])
    with pytest.raises(ValueError, match="class folder 'n04' holds no images"):
        images_of_classes(tmp_path, ["n01", "n04"])


# Flowers


def write_flowers(root: Path, labels: list[int], train: list[int], valid: list[int], test: list[int]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    ids = {"trnid": train, "valid": valid, "tstid": test}
    savemat(root / "setid.mat", {name: np.array([numbers]) for name, numbers in ids.items()})


def test_flowers(tmp_path: Path) -> None:
    write_flowers(tmp_path, [77, 1, 102, 77, 2, 5, 6, 7, 8], train=[2, 6], valid=[5, 7], test=[4, 1, 3, 8, 9])
    found = read_flowers102(tmp_path)
    assert found.classes == Flowers102.classes and len(found.classes) == 102
    assert found.images["train"] == [
        ("jpg/image_00002.jpg", "pink primrose"),
        ("jpg/image_00006.jpg", found.classes[4]),
        ("jpg/image_00005.jpg", found.classes[1]),
        ("jpg/image_00007.jpg", found.classes[5]),
    ]
    assert found.images["test"][:3] == [
        ("jpg/image_00004.jpg", found.classes[76]),
        ("jpg/image_00001.jpg", found.classes[76]),
        ("jpg/image_00003.jpg", "blackberry lily"),
    ]


@left_open
@pytest.mark.parametrize(
    ("labels", "splits", "message"),
    [
        (range(1, 9), ([1, 2], [3, 4], [5, 6]), r"name 4 images, tstid 2; expected tstid to be the largest"),
        (range(1, 9), ([1, 2], [3, 4], [5, 6, 7, 8, 9]), "setid.mat .IndexError"),
        (
            [1, 2, 103, 4],
            ([3, 2], [1, 4], [1, 2, 3, 4, 1]),
            "00003.jpg' has the label 102, expected a number from 0 to",
        ),
        ([0, 2, 3, 4], ([1, 2], [3, 4], [1, 2, 3, 4, 1]), "00001.jpg' has the label -1, expected a number from 0 to"),
        (
            [1, 2, 3, 4],
            ([1.5, 2], [3, 4], [1, 2, 3, 4, 1]),
            "mmpretrain's Flowers102 cannot read imagelabels.mat, setid",
        ),
    ],
)
def test_wrong_flowers_are_refused(tmp_path: Path, labels: list, splits: tuple, message: str) -> None:
    write_flowers(tmp_path, list(labels), *splits)
    with pytest.raises(ValueError, match=message):
        read_flowers102(tmp_path)


def test_images_of_two_splits_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    images = {"train": [("1.jpg", "a")], "test": [("1.jpg", "a")]}
    with pytest.raises(ValueError, match=r"test: 1\.jpg is listed twice, first in train"):
        write_image_lists(LabelledImages(["a"], images), tmp_path, tmp_path / "out")


@left_open
def test_unreadable_mat_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"imagelabels.mat does not exist"):
        read_flowers102(tmp_path)
    write_flowers(tmp_path, [1, 2, 3, 4], [1, 2], [3, 4], [1, 2, 3, 4, 1])
    for content in (b"<html>not found</html>" * 20, b""):
        (tmp_path / "imagelabels.mat").write_bytes(content)
        with pytest.raises(ValueError, match=r"mmpretrain's Flowers102 cannot read imagelabels.mat, setid.mat"):
            read_flowers102(tmp_path)
    for variables in ({"other": [1]}, {"labels": np.array([["a", "b"]], object)}, {"labels": "text"}):
        savemat(tmp_path / "imagelabels.mat", variables)
        with pytest.raises(ValueError, match=r"mmpretrain's Flowers102 cannot read imagelabels.mat, setid.mat"):
            read_flowers102(tmp_path)


def test_flowers_need_a_torchvision_with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Flowers102, "classes")
    with pytest.raises(ValueError, match=r"torchvision .* has no class names of Flowers-102; update it to 0\.22"):
        read_flowers102(tmp_path)


# Cars

CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"]


def structs(**columns: list[Any]) -> np.ndarray:
    """A MATLAB struct array."""
    records = np.zeros((1, len(next(iter(columns.values())))), [(name, object) for name in columns])
    for name, values in columns.items():
        records[name][0, :] = values
    return records


def write_devkit(root: Path, train: np.ndarray, test: np.ndarray) -> None:
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": train})
    savemat(root / "devkit" / "cars_test_annos_withlabels.mat", {"annotations": test})


def test_cars_with_a_devkit(tmp_path: Path) -> None:
    train = structs(bbox_x1=[1, 2], **{"class": [2, 1]}, fname=["00001.jpg", "00002.jpg"])
    test = structs(**{"class": [3, 3]}, fname=["00001.jpg", "00002.jpg"])
    write_devkit(tmp_path, train, test)
    found = read_stanford_cars(tmp_path)
    assert found.classes[:3] == CARS and len(found.classes) == 196
    assert found.images == {
        "train": [("cars_train/00001.jpg", CARS[1]), ("cars_train/00002.jpg", CARS[0])],
        "test": [("cars_test/00001.jpg", CARS[2]), ("cars_test/00002.jpg", CARS[2])],
    }


def test_cars_in_one_file(tmp_path: Path) -> None:
    names = [f"car_ims/00000{number}.jpg" for number in (1, 2, 3)]
    annotations = structs(relative_im_path=names, **{"class": [3, 2, 1]}, test=[0, 1, 0])
    savemat(tmp_path / "cars_annos.mat", {"annotations": annotations})
    assert read_stanford_cars(tmp_path).images == {
        "train": [(names[0], CARS[2]), (names[2], CARS[0])],
        "test": [(names[1], CARS[1])],
    }


def test_cars_without_annotations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"devkit/cars_train_annos\.mat does not exist"):
        read_stanford_cars(tmp_path)
    write_devkit(tmp_path, *[structs(**{"class": [3, 1]}, fname=["1.jpg", "2.jpg"])] * 2)
    (tmp_path / "devkit" / "cars_test_annos_withlabels.mat").rename(tmp_path / "devkit" / "cars_test_annos.mat")
    with pytest.raises(FileNotFoundError, match=r"devkit/cars_test_annos_withlabels\.mat does not exist"):
        read_stanford_cars(tmp_path)


@left_open
@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            structs(**{"class": [1, 197]}, fname=["a.jpg", "b.jpg"]),
            "b.jpg' has the label 196, expected a number from 0",
        ),
        (structs(fname=["a.jpg", "b.jpg"]), r"mmpretrain's StanfordCars cannot read .*\(KeyError: 'class'"),
        ({"fname": 7, "class": 1}, "mmpretrain's StanfordCars cannot read devkit/cars_train_annos.mat"),
        (structs(**{"class": ["one", "two"]}, fname=["a.jpg", "b.jpg"]), "mmpretrain's StanfordCars cannot read"),
        (np.array([1, 2]), "mmpretrain's StanfordCars cannot read"),
    ],
)
def test_wrong_cars_are_refused(tmp_path: Path, records: Any, message: str) -> None:
    write_devkit(tmp_path, records, structs(**{"class": [3, 3]}, fname=["1.jpg", "2.jpg"]))
    with pytest.raises(ValueError, match=message):
        read_stanford_cars(tmp_path)


# iNaturalist

NAMES = ["7", "12", "3"]  # obfuscated, as published


def annotations(categories: list[int], split: str = "train", names: list[str | None] = NAMES) -> dict[str, Any]:
    """A file with one image for each of some category ids."""
    return {
        "images": [
            {"id": 50 + number, "file_name": f"train_val2018/Fungi/{category}/{split}{number}.jpg"}
            for number, category in enumerate(categories)
        ],
        "annotations": [
            {"id": number, "image_id": 50 + number, "category_id": category}
            for number, category in enumerate(categories)
        ],
        "categories": [{"id": number, **({} if name is None else {"name": name})} for number, name in enumerate(names)],
    }


@pytest.fixture
def inat(tmp_path: Path) -> Callable[..., Path]:
    """Writes `train2018.json` and `val2018.json`."""

    def write(train: dict[str, Any], val: dict[str, Any] | None = None) -> Path:
        (tmp_path / "train2018.json").write_text(json.dumps(train))
        (tmp_path / "val2018.json").write_text(json.dumps(annotations([1], "val") if val is None else val))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("order", "classes"), [("id", ["7", "12", "3"]), ("name", ["12", "3", "7"]), ("first", ["3", "7", "12"])]
)
def test_orders_of_inaturalist(inat: Callable, order: str, classes: list[str]) -> None:
    found = read_inaturalist(inat(annotations([2, 0, 2, 1])), 2018, order)
    assert found.classes == classes
    labels = [label for _, label in found.images["train"]]
    assert labels == ["3", "7", "3", "12"] and found.images["val"] == [("train_val2018/Fungi/1/val0.jpg", "12")]


def test_names_of_inaturalist(inat: Callable, tmp_path: Path) -> None:
    nameless = [None, None, None]
    root = inat(annotations([2], names=nameless), annotations([1], "val", names=nameless))
    assert read_inaturalist(root, 2018).classes == ["0", "1", "2"]
    (tmp_path / "categories.json").write_text(
        json.dumps([{"id": 1, "name": "Bee"}, {"id": 0, "name": "Ant"}, {"id": 2, "name": "Bee"}])
    )
    found = read_inaturalist(root, 2018, categories=tmp_path / "categories.json")
    assert found.classes == ["Ant", "Bee (1)", "Bee (2)"] and found.images["val"][0][1] == "Bee (1)"
    (tmp_path / "categories.json").write_text(json.dumps([{"id": 1, "name": "Bee"}]))
    with pytest.raises(ValueError, match=r"categories\.json has other ids than .*train2018\.json"):
        read_inaturalist(root, 2018, categories=tmp_path / "categories.json")


def changed(key: str, number: int, **fields: Any) -> dict[str, Any]:
    content = annotations([2, 0])
    content[key][number] |= fields
    return content


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (changed("annotations", 1, image_id=9), "an annotation names image 9, which is not among the 2 images"),
        (changed("annotations", 1, category_id=9), "image 51 has category 9, which is not among the 3"),
        (changed("annotations", 1, image_id=50), "image 50 has two annotations, expected one"),
        (changed("annotations", 1, category_id={}), "category_id in entry 1 of 'annotations' is {}, expected int"),
        (changed("images", 1, file_name=7), "file_name in entry 1 of 'images' is 7, expected str"),
        (changed("images", 1, id=50), "two images have the same id"),
        (changed("categories", 1, id=0), "two categories have the same id"),
        ({**annotations([2, 0]), "annotations": annotations([2])["annotations"]}, "1 images have no annotation.* 51"),
        ({"images": [1]}, r"train2018.json has no list 'categories'; expected images, annotations and categories"),
        ({**annotations([2]), "images": [{"id": 50}]}, "entry 0 of 'images' is .*, expected the fields id, file_name"),
        (annotations([2], names=["7", "12"]), "val2018.json has other categories than .*train2018.json"),
        ([], "train2018.json has no list 'categories'"),
    ],
)
def test_wrong_annotations_are_refused(inat: Callable, train: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_inaturalist(inat(train), 2018)


def test_inaturalist_without_files_or_order(inat: Callable, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train2018\.json does not exist"):
        read_inaturalist(tmp_path, 2018)
    with pytest.raises(ValueError, match="category 1 has no image there"):
        read_inaturalist(inat(annotations([2, 0])), 2018, "first")
    (tmp_path / "train2018.json").write_text("{")
    with pytest.raises(ValueError, match=r"train2018\.json is damaged or is not valid JSON "):
        read_inaturalist(tmp_path, 2018)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, r"train2018\.json is damaged or is not valid JSON \(RecursionError"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": NaN}]}',
            r"train2018\.json is damaged or is not valid JSON .*NaN",
        ),
        ('{"categories": [{"id": [1]}]}', r"id in entry 0 of 'categories' is \[1\], expected int"),
        ('{"categories": [{"id": true}]}', r"id in entry 0 of 'categories' is True, expected int"),
    ],
)
def test_inaturalist_of_another_kind(tmp_path: Path, content: str, message: str) -> None:
    for name in ("train2018.json", "val2018.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_inaturalist(tmp_path, 2018)


def test_pipe_in_place_of_annotations(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "imagelabels.mat")
    os.mkfifo(tmp_path / "train2018.json")
    with pytest.raises(ValueError, match=r"imagelabels\.mat is a pipe, expected a file"):
        read_flowers102(tmp_path)
    with pytest.raises(ValueError, match=r"train2018\.json is a pipe, expected a file"):
        read_inaturalist(tmp_path, 2018)
