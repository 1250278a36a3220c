"""tools/dataset_converters/sample_photos.py: disjoint, repeatable, complete or visibly not."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def module(repository: Path) -> dict:
    return runpy.run_path(str(repository / "tools" / "dataset_converters" / "sample_photos.py"))


@pytest.fixture
def few(module: dict) -> Callable[[list], int]:
    """Runs the tool with few crops: at one scale, side by side."""
    names = module["write_photos"].__globals__
    saved = names["SCALES"], names["STEPS"]
    names["SCALES"], names["STEPS"] = (1.0,), {"train": 1.0, "val": 1.0}
    yield module["main"]
    names["SCALES"], names["STEPS"] = saved


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_pixel_is_in_both_parts(module: dict) -> None:
    photos = module["load_photos"]()
    assert {name: photo.shape for name, photo in photos.items()} == {"china": (427, 640, 3), "flower": (427, 640, 3)}
    covered = {(part, name): np.zeros((427, 640), bool) for part in ("train", "val") for name in photos}
    crops = module["plan"](photos, 64)
    for part, name, (top, left, side) in crops:
        assert top + side <= 427
        assert left + side <= 640
        covered[part, name][top : top + side, left : left + side] = True
    for name in photos:
        assert not (covered["train", name] & covered["val", name]).any()
    assert [sum(crop[0] == part for crop in crops) for part in ("train", "val")] == [1648, 134]
    assert {window.side for _, _, window in crops} == {64, 96, 128}


def test_crops_are_the_photographs_pixels(module: dict, few: Callable, tmp_path: Path) -> None:
    few([str(tmp_path), "--size", "128"])
    photos = module["load_photos"]()
    paths = sorted(tmp_path.rglob("*.png"))
    assert {path.parent.relative_to(tmp_path).as_posix() for path in paths} == {
        f"{part}/{name}" for part in ("train", "val") for name in ("china", "flower")
    }
    for path in paths:
        side, top, left = map(int, path.stem.split("_"))
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (128, 128))
            assert np.array_equal(image, photos[path.parent.name][top : top + side, left : left + side])


def test_larger_windows_are_scaled_down(module: dict) -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:32] = 200
    window = module["Window"](0, 0, 64)
    small = np.asarray(module["cut"](photo, window, 16))
    assert small.shape == (16, 16, 3)
    assert (small[:6] > 195).all()
    assert (small[10:] < 5).all()


def test_running_again_repairs_what_was_killed(few: Callable, tmp_path: Path) -> None:
    few([str(tmp_path), "--size", "128"])
    whole = contents(tmp_path)
    few([str(tmp_path), "--size", "128"])
    assert contents(tmp_path) == whole
    (tmp_path / "photos.json").unlink()  # as a run that was killed
    next(iter((tmp_path / "val").rglob("*.png"))).write_bytes(b"half")
    few([str(tmp_path), "--size", "128"])
    assert contents(tmp_path) == whole


def test_another_size_replaces_the_crops(few: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    few([str(tmp_path), "--size", "128"])
    few([str(tmp_path), "--size", "140"])
    paths = list(tmp_path.rglob("*.png"))
    assert {path.name.split("_")[0] for path in paths} == {"140"}
    for path in paths:
        with Image.open(path) as image:
            assert image.size == (140, 140)
    parts = [sum(part in path.relative_to(tmp_path).parts for path in paths) for part in ("train", "val")]
    assert f"{parts[0]} training and {parts[1]} validation crops of 140 pixels" in capsys.readouterr().out


@pytest.mark.parametrize("size", [4, 161])
def test_sizes_that_do_not_fit_are_refused(module: dict, tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=rf"size is {size} pixels; expected 8 to 160"):
        module["main"]([str(tmp_path), "--size", str(size)])


def test_a_folder_with_something_else_is_refused(module: dict, tmp_path: Path) -> None:
    image = tmp_path / "val" / "n01440764" / "ILSVRC2012_val_00000293.JPEG"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"val holds 'n01440764', which is not ours; name another folder"):
        module["main"]([str(tmp_path)])
    assert contents(tmp_path) == {"val/n01440764/ILSVRC2012_val_00000293.JPEG": b"precious"}
