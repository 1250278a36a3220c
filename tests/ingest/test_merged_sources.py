"""Several sources as one: the order of images, classes united by name, and what cannot be joined."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.mmpretrain_data import mnist_files
from seitpp.datasets import ImageDataset
from seitpp.ingest import TokenizeJob, open_image_source
from seitpp.storage import StoreReader
from seitpp.structures.class_names import united_classes


def test_folders_become_one_with_the_classes_of_all(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path / "one", per_class=2, classes=("bee", "cow"))
    class_folder(tmp_path / "two", per_class=1, classes=("ant", "bee"))
    source = open_image_source(f"{tmp_path}/one,{tmp_path}/two")
    assert source.classes == ["ant", "bee", "cow"]
    assert source.labels.tolist() == [1, 1, 2, 2, 0, 1]
    assert source.names[0] == f"{tmp_path}/one/bee/0.png" and source.names[-1] == f"{tmp_path}/two/bee/0.png"
    assert source.listable
    assert source.read(5) == (tmp_path / "two" / "bee" / "0.png").read_bytes()
    (said,) = (line for line in source.warnings() if "united" in line)
    assert said.endswith(f"1 in {tmp_path}/one alone ('cow'), 1 in {tmp_path}/two alone ('ant')")
    assert [part["num_images"] for part in source.describe()["parts"]] == [4, 2]


def test_names_tell_folders_of_the_same_name_apart(class_folder: Callable, tmp_path: Path) -> None:
    for name in ("one", "two"):
        class_folder(tmp_path / name / "train", per_class=1)
        class_folder(tmp_path / name / "val", per_class=1)
    source = open_image_source(f"{tmp_path}/one, {tmp_path}/two", split="train")
    assert len(set(source.names)) == 4 and source.labels.tolist() == [0, 1, 0, 1]
    source = open_image_source(f"{tmp_path}/one/train,{tmp_path}/two/train")
    assert len(set(source.names)) == 4


def test_folder_with_a_comma_in_its_name_is_one(class_folder: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path / "a,b", per_class=1)
    assert open_image_source(tmp_path / "a,b").kind == "folder"


def test_sources_of_different_kinds(class_folder: Callable, tmp_path: Path) -> None:
    mnist_files(tmp_path / "mnist")
    class_folder(tmp_path / "more", per_class=1, classes=("5", "9"))
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(10))))
    both = f"{tmp_path}/mnist/train-images-idx3-ubyte,{tmp_path}/more"
    source = open_image_source(both, classes_file=str(tmp_path / "names.txt"))
    assert source.labels.tolist() == [5, 6, 7, 5, 9] and source.load(4, 3)[0].size == (16, 16)
    with pytest.raises(ValueError, match=r"ubyte has class indices without names, and the other sources have names"):
        open_image_source(both)


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ("one", {}, "a source is named twice"),
        ("flat", {}, r"sources of different labels cannot be joined \(.*one: class, .*flat: none\)"),
        ("gone", {}, "gone does not exist"),
        ("", {}, "a path is empty"),
        ("two", {"annotations": "maps"}, "names several sources, for which --annotations means nothing"),
    ],
)
def test_sources_that_cannot_be_joined(
    class_folder: Callable, image: Callable, tmp_path: Path, second: str, options: dict, message: str
) -> None:
    class_folder(tmp_path / "one", per_class=1)
    image(tmp_path / "flat" / "0.png")
    path = f"{tmp_path}/one,{tmp_path / second if second else ''}"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_image_source(path, **options)


def test_label_maps_are_joined_but_not_renumbered(pair_folder: Callable, tmp_path: Path) -> None:
    pair_folder(tmp_path / "one", 2)
    pair_folder(tmp_path / "two", 1)
    source = open_image_source(f"{tmp_path}/one,{tmp_path}/two", split="training")
    assert source.annotated and len(source) == 3
    assert source.read_annotation(2) == (tmp_path / "two" / "annotations" / "training" / "0.png").read_bytes()


def test_store_of_merged_folders(class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path / "one", per_class=3, classes=("bee", "cow"))
    class_folder(tmp_path / "two", per_class=3, classes=("ant", "bee"))
    job: TokenizeJob = make_job(f"{tmp_path}/one,{tmp_path}/two", tmp_path / "both")
    run_job(job)
    parts = []
    for name in ("one", "two"):
        run_job(make_job(tmp_path / name, tmp_path / f"{name}-store"))
        parts.append(StoreReader(tmp_path / f"{name}-store").read(range(6)))
    store = StoreReader(tmp_path / "both")
    np.testing.assert_array_equal(store.read(range(12)), np.concatenate(parts))
    assert [store.classes[label] for label in store.labels] == ["bee"] * 3 + ["cow"] * 3 + ["ant"] * 3 + ["bee"] * 3
    dataset = ImageDataset("one,two", str(tmp_path / "both"), data_root=str(tmp_path))
    assert dataset.labels.tolist() == store.labels.tolist()
    with pytest.raises(ValueError, match=r"lies inside .*two, where images are looked for"):
        run_job(make_job(f"{tmp_path}/one,{tmp_path}/two", tmp_path / "two" / "store"))


def test_order_of_united_classes() -> None:
    names, numbers = united_classes([["b", "a"], ["c", "a"]])
    assert names == ["b", "a", "c"] and [one.tolist() for one in numbers] == [[0, 1], [2, 1]]
    names, numbers = united_classes([["crane", "crane"], ["crane", "crane"]])
    assert names == ["crane", "crane"] and [one.tolist() for one in numbers] == [[0, 1], [0, 1]]
    with pytest.raises(ValueError, match="cannot be united by name: 'crane' names two classes of one list"):
        united_classes([["crane", "crane"], ["crane"]])
