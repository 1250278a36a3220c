"""tools/dataset_converters/hold_out.py: which images go to which split."""

from pathlib import Path

import pytest

from helpers.tools import tool_main

main = tool_main("dataset_converters/hold_out.py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for split, count in (("train", 11), ("val", 2)):
        for label in "ab":
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:02d}.png").write_text(f"{split} {label} {number}")
    return tmp_path / "images"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_last_images_of_each_class_are_held_out_and_the_old_val_is_the_test(source: Path, tmp_path: Path) -> None:
    assert main([source, tmp_path / "out", "--last", 3]) == 0
    for label in "ab":
        assert names(tmp_path / "out" / "train" / label) == [f"{number:02d}.png" for number in range(8)]
        assert names(tmp_path / "out" / "val" / label) == ["08.png", "09.png", "10.png"]
        assert (tmp_path / "out" / "test" / label / "01.png").read_text() == f"val {label} 1"


def test_first_images_alone(source: Path, tmp_path: Path) -> None:
    assert main([source, tmp_path / "out", "--last", 1, "--first", 4]) == 0
    assert names(tmp_path / "out" / "train" / "a") == ["00.png", "01.png", "02.png"]
    assert names(tmp_path / "out" / "val" / "a") == ["03.png"]


@pytest.mark.parametrize("last", [0, 11])
def test_some_images_are_held_out_and_some_stay(source: Path, tmp_path: Path, last: int, capsys) -> None:
    assert main([source, tmp_path / "out", "--last", last]) == 1
    assert f"--last {last}: class a has 11 training images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_splits_have_the_same_classes(source: Path, tmp_path: Path, capsys) -> None:
    (source / "val" / "b").rename(source / "val" / "c")
    assert main([source, tmp_path / "out", "--last", 1]) == 1
    assert "classes differ: train has a, b, val has a, c" in capsys.readouterr().err
