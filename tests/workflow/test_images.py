"""Looking at folders of pictures, and holding some out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.ingest import open_image_source
from seitpp.workflow.images import hold_out, open_pictures, write_links, write_list


def test_a_fifth_of_each_class_is_held_out_and_the_same_every_time() -> None:
    labels = np.repeat([0, 1, 2], [10, 5, 1])
    chosen = hold_out(16, labels)
    assert np.bincount(labels[chosen], minlength=3).tolist() == [2, 1, 0]  # a single image trains
    assert np.array_equal(chosen, hold_out(16, labels))


def test_lists_of_both_parts_name_all_images_with_their_classes(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    folder = write_pictures(tmp_path / "a folder, with a comma", classes=("10", "9", "x, y"))
    pictures = open_pictures(str(folder))
    found = {}
    for name, part in (("train", pictures.train), ("val", pictures.val)):
        write_list(part, tmp_path / f"{name}.csv")
        source = open_image_source(str(tmp_path / f"{name}.csv"), root=str(folder))
        found[name] = {image: pictures.classes[label] for image, label in zip(source.names, source.labels, strict=True)}
    assert len(found["train"]) == 24 and len(found["val"]) == 6
    assert all(image.split("/")[0] == name for image, name in (found["train"] | found["val"]).items())
    assert not found["train"].keys() & found["val"].keys()


def test_parts_that_a_folder_has_already_are_taken(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    write_pictures(tmp_path / "training")
    write_pictures(tmp_path / "val", 3)
    pictures = open_pictures(str(tmp_path))
    assert (len(pictures.train), len(pictures.val), pictures.held_out) == (20, 6, False)
    assert pictures.train.arguments == {"source": str(tmp_path), "split": "training"}


def test_grey_images_are_told_from_coloured_ones(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    assert open_pictures(str(write_pictures(tmp_path / "grey", grey=True))).is_grey
    assert not open_pictures(str(write_pictures(tmp_path / "coloured"))).is_grey


def test_label_maps_are_held_out_by_links(tmp_path: Path) -> None:
    for name in ("images", "annotations"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    for index in range(10):
        pixels = np.full((8, 8), index % 2, np.uint8)
        pixels[0] = 255
        Image.fromarray(pixels).save(tmp_path / "pairs" / "annotations" / f"{index}.png")
        Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / "pairs" / "images" / f"{index}.jpg")
    pictures = open_pictures(str(tmp_path / "pairs"))
    assert pictures.kind == "segmentation" and pictures.classes == ["class 0", "class 1"]
    assert pictures.pixel_shares.shape == (2, 2) and pictures.pixel_shares.sum(axis=1).tolist() == [1, 1]
    maps = [np.asarray(Image.open(pictures.val.source.label_maps[number])) for number in pictures.val.kept]
    np.testing.assert_allclose(
        pictures.pixel_shares[1], [np.mean([one[1] == 0 for one in maps]), np.mean([one[1] == 1 for one in maps])]
    )
    write_links(pictures.val, tmp_path / "out" / "images" / "val", tmp_path / "out" / "annotations" / "val")
    source = open_image_source(str(tmp_path / "out"), split="val")
    assert len(source) == 2 and source.annotated
    assert source.read(0) == (tmp_path / "pairs" / "images" / source.names[0]).read_bytes()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"holds no images: 1 files of other kinds, such as notes\.txt"):
        open_pictures(str(tmp_path))


def test_one_class_is_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="all 8 training images are of one class, 'ant'; a classifier needs two"):
        open_pictures(str(write_pictures(tmp_path, classes=("ant",))))


def test_two_images_are_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="2 images, too few to hold any out for validation: each class has one"):
        open_pictures(str(write_pictures(tmp_path, 1)))


def test_few_images_are_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="has 4 images to train on and 2 to score, too few; expected at least 8"):
        open_pictures(str(write_pictures(tmp_path, 3)))


def test_classes_in_the_validation_part_alone_are_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    train = write_pictures(tmp_path / "train")
    val = write_pictures(tmp_path / "val", 2, ("bee", "wasp"))
    with pytest.raises(ValueError, match="classes with validation images and no training image: wasp"):
        open_pictures(str(train), str(val))


def test_a_validation_part_of_another_kind_is_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    train = write_pictures(tmp_path / "train")
    with pytest.raises(ValueError, match=r"have classes, and the validation images in .* have no labels"):
        open_pictures(str(train), str(write_pictures(tmp_path / "val") / "ant"))


def test_the_training_images_as_validation_part_are_refused(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    folder = write_pictures(tmp_path)
    with pytest.raises(ValueError, match="names the images that are trained on"):
        open_pictures(str(folder), str(folder))
