"""tools/dataset_converters/scenes.py: real material, disjoint parts, repeatable, complete or visibly not."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ["background", "zero", "one", "four", "seven"]


@pytest.fixture(scope="module")
def module(repository: Path) -> dict:
    return runpy.run_path(str(repository / "tools" / "dataset_converters" / "scenes.py"))


@pytest.fixture
def write(module: dict, tmp_path: Path) -> Callable[..., Path]:
    """Runs the tool with few scenes; returns the folder."""

    def run(folder: str = "scenes", *more: str, train: int = 6, val: int = 3) -> Path:
        out = tmp_path / folder
        module["main"]([str(out), "--num-train", str(train), "--num-val", str(val), *more])
        return out

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_share_no_pixel_and_no_digit(module: dict) -> None:
    material = module["load_material"]()
    (train_left, train_right), (val_left, val_right) = (module["STRIPS"][part][0] for part in ("train", "val"))
    assert 0 == train_left < train_right == val_left < val_right == 640
    assert [strip.shape for strip in material["train"].strips] == [(427, 480, 3)] * 2
    assert [strip.shape for strip in material["val"].strips] == [(427, 160, 3)] * 2
    assert len(material["train"].digits) == len(material["val"].digits) == len(CLASSES) - 1
    for train, val in zip(material["train"].digits, material["val"].digits, strict=True):
        assert len(train) > 100
        assert len(val) > 40
        assert not {image.tobytes() for image in train} & {image.tobytes() for image in val}


def test_layout_is_that_of_annotated_images(write: Callable) -> None:
    out = write()
    assert (out / "classes.txt").read_text().splitlines() == CLASSES
    found = set()
    for part, count in (("train", 6), ("val", 3)):
        names = sorted(path.name for path in (out / "images" / part).iterdir())
        assert names == sorted(path.name for path in (out / "annotations" / part).iterdir())
        assert len(names) == count
        for name in names:
            with (
                Image.open(out / "images" / part / name) as image,
                Image.open(out / "annotations" / part / name) as map_,
            ):
                assert (image.mode, image.size, map_.mode, map_.size) == ("RGB", (64, 64), "L", (64, 64))
                found |= set(np.unique(map_).tolist())
    assert 0 in found
    assert found <= set(range(5))
    assert len(found) > 2


def test_background_is_the_photograph_and_objects_are_not(module: dict) -> None:
    strips = [np.full((128, 128, 3), 200, np.uint8)]
    digit = np.zeros((1, 8, 8), np.uint8)
    digit[:, 2:6, 2:6] = 255
    image, labels = module["render"](module["Material"](strips, [digit]), np.random.default_rng(0))
    assert (labels == 1).any()
    assert (image[labels == 0] == 200).all()
    assert (image[labels == 1] != 200).any(axis=-1).all()


def test_scenes_are_the_same_every_time_and_others_with_another_seed(write: Callable) -> None:
    one = contents(write("one"))
    assert contents(write("two")) == one
    other = contents(write("three", "--seed", "1"))
    assert other["images/train/0000.png"] != one["images/train/0000.png"]
    assert one["images/train/0000.png"] != one["images/val/0000.png"]


def test_running_again_repairs_what_was_killed(write: Callable) -> None:
    out = write()
    whole = contents(out)
    stamp = (out / "images" / "val" / "0000.png").stat().st_mtime_ns
    write()
    assert (out / "images" / "val" / "0000.png").stat().st_mtime_ns == stamp
    (out / "scenes.json").unlink()  # as a run that was killed
    (out / "images" / "val" / "0000.png").write_bytes(b"half")
    write()
    assert contents(out) == whole
    write(train=2)
    assert len(list((out / "annotations" / "train").iterdir())) == 2


def test_a_folder_with_something_else_is_refused(write: Callable, tmp_path: Path) -> None:
    image = tmp_path / "scenes" / "images" / "training" / "ADE_train_00000001.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"ADE_train_00000001.jpg is not ours; name another folder"):
        write()
    assert image.read_bytes() == b"precious"


def test_no_scenes_are_refused(write: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        write(val=0)
    assert "--num-val 0: expected at least one scene of each" in capsys.readouterr().err
