"""Labels of lists and tar files: found whatever they are called, or their absence is an error or said."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from class_lists import read_classes_list
from PIL import Image

from seitpp.ingest import open_image_source
from seitpp.ingest.sources import ImageSource
from seitpp.ingest.sources.labels import class_labels


def png_bytes(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar_of(path: Path, members: dict[str, bytes | str]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def opened(folder: Path, text: str | bytes, name: str = "list.csv", **options: object) -> ImageSource:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_image_source(str(folder / name), **options)


# Numbers and names


@pytest.mark.parametrize("texts", [["10.0", "2", "0"], ["1e1", "2.", "+0"], ["010", "2.000", "-0"]])
def test_numeric_text_is_a_number(texts: list[str]) -> None:
    labels, classes = class_labels([("a", text) for text in texts], None)
    assert labels.tolist() == [10, 2, 0] and classes is None


def test_names_are_sorted_and_numbers_may_be_names_of_given_classes() -> None:
    entries = [("a", "wasp"), ("b", "ant")]
    assert class_labels(entries, None)[1] == ["ant", "wasp"]
    assert class_labels([("a", "7"), ("b", "x")], ["x", "7"])[0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["1", "2", "?"], r"^line 2: label '\?' is no number, unlike most others, such as '1'; mend it, or give"),
        (["ant", "bee", "3"], r"^line 2: label '3' is a number, unlike most others, such as 'ant'"),
        (["1", "nan"], r"^line 1: label 'nan' is no number"),
        (["1", "0.5"], r"^line 1: label 0\.5 is no class index, expected a whole number from 0"),
        (["1", "-1"], r"^line 1: label -1 is no class index"),
        (["1", "5e9"], r"^line 1: label 5e9 is above 4294967295, expected a class index"),
        (["1", "1e999999999"], r"^line 1: label 1e999999999 is above 4294967295"),
        (["1", "1e-999999999"], r"^line 1: label 1e-999999999 is no class index"),
    ],
)
def test_labels_that_are_no_classes_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_labels([(f"line {number}", text) for number, text in enumerate(texts)], None)


@pytest.mark.parametrize("name", ["list.csv", "list.txt"])
def test_float_labels_and_question_marks_of_lists(image: Callable, tmp_path: Path, name: str) -> None:
    for number in range(3):
        image(tmp_path / f"{number}.png")
    head, sign = ("path,label\n", ",") if name == "list.csv" else ("", " ")
    text = f"{head}0.png{sign}10.0\n1.png{sign}2.0\n2.png{sign}0\n"
    source = opened(tmp_path, text, name)
    assert source.labels.tolist() == [10, 2, 0] and source.classes is None
    line = 4 if name == "list.csv" else 3
    with pytest.raises(ValueError, match=rf"{name}, line {line}: label '\?' is no number"):
        opened(tmp_path, text.replace(f"2.png{sign}0", f"2.png{sign}?"), name)


# Lists


@pytest.mark.parametrize("column", ["Label", "category", "class_id", "target", "synset"])
def test_label_columns(tmp_path: Path, column: str) -> None:
    assert opened(tmp_path, f"file_name,{column}\na.png,3\n").labels.tolist() == [3]


def test_columns_without_a_label_are_an_error_or_left_out(tmp_path: Path) -> None:
    text = "path,species,Score\na.png,7,0.5\n"
    with pytest.raises(ValueError, match=r"of the columns \['species', 'score'\] is called 'label'; .*--unlabelled"):
        opened(tmp_path, text)
    assert opened(tmp_path, text, unlabelled=True).labels is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_csv_of_a_spreadsheet(tmp_path: Path, encoding: str) -> None:
    text = "\r\n".join(["label,path ", 'ant, "a, b.png"', '"große Biene",c.png ', ""])
    source = opened(tmp_path, text.encode(encoding))
    assert source.names == ["a, b.png", "c.png"] and source.classes == ["ant", "große Biene"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,label\na.png,1,2\n", r"the first line names a column twice: \['path', 'label', 'label'\]"),
        (
            "path,label\na, b.png,1\n",
            "line 2: more fields than the first line names columns; put what contains a",
        ),
    ],
)
def test_ambiguous_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, text)


def test_text_list_with_names_quotes_and_a_mark(tmp_path: Path) -> None:
    source = opened(tmp_path, '\ufeff"my photo.jpg" wasp\r\nb.jpg ant \r\n', "list.txt")
    assert source.names == ["my photo.jpg", "b.jpg"] and source.classes == ["ant", "wasp"]
    assert opened(tmp_path, "my photo.jpg\nb 2.jpg\n", "list.txt").labels is None


# Class names


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_class_names_of_any_editor(image: Callable, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_bytes('ant \r\n"große Biene"\r\n\r\n'.encode(encoding))
    source = opened(tmp_path, "a.png 1\n", "list.txt", classes_file=str(tmp_path / "classes.txt"))
    assert source.classes == ["ant", "große Biene"]
    assert read_classes_list(tmp_path / "classes.txt") == ["ant", "große Biene"]


@pytest.mark.parametrize("text", ["ant\n\nbee\n", "ant\nant \n", "", "\n"])
def test_class_names_with_gaps_or_twice_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=r"classes\.txt.*(names no classes|class names must differ)"):
        opened(tmp_path, "a.png 1\n", "list.txt", classes_file=str(tmp_path / "classes.txt"))


def test_numeric_class_folders_are_warned_of(class_folder: Callable, tmp_path: Path) -> None:
    source = open_image_source(class_folder(tmp_path, classes=("1", "2", "10")))
    assert source.classes == ["1", "10", "2"]
    assert "class folders are numbers, and are ordered as text: folder '1' is class 0" in source.warnings()[-1]
    digits = class_folder(tmp_path / "digits", classes=tuple("0123"))
    assert not open_image_source(digits).warnings()


# Tar files


@pytest.mark.parametrize("ending", ["cls", "CLS", "cls.txt", "Label", "class.txt"])
def test_classes_of_tar_files_under_other_keys(tmp_path: Path, ending: str) -> None:
    members = {"0.png": png_bytes(), f"0.{ending}": "3\n", f"1.{ending}": "\ufeff10.0", "1.png": png_bytes(1)}
    source = open_image_source(tar_of(tmp_path / "a.tar", members))
    assert source.labels.tolist() == [3, 10] and not source.skipped


@pytest.mark.parametrize("field", ["label", "class", "category_id"])
def test_classes_in_json_files(tmp_path: Path, field: str) -> None:
    members = {}
    for number in range(2):
        members |= {f"{number}.png": png_bytes(number), f"{number}.json": json.dumps({"id": 9, field: 5 - number})}
    source = open_image_source(tar_of(tmp_path / "a.tar", members))
    assert source.labels.tolist() == [5, 4]
    assert "labels were taken from the JSON files beside the images: 2 classes, such as '5'" in source.warnings()[0]


def test_json_files_with_names(tmp_path: Path) -> None:
    members = {
        "0.png": png_bytes(),
        "0.json": '{"class_name": "wasp"}',
        "1.png": png_bytes(1),
        "1.json": '{"class_name": "ant"}',
    }
    source = open_image_source(tar_of(tmp_path / "a.tar", members))
    assert source.classes == ["ant", "wasp"] and source.labels.tolist() == [1, 0]


def test_class_folders_inside_a_tar_file(tmp_path: Path) -> None:
    members = {f"./data/train/{name}/{number}.png": png_bytes(number) for name in ("bee", "ant") for number in range(2)}
    source = open_image_source(tar_of(tmp_path / "a.tar", members))
    assert source.classes == ["ant", "bee"] and source.labels.tolist() == [1, 1, 0, 0]
    assert "labels were taken from the folders inside the tar files: 2 classes, such as 'bee'" in source.warnings()[0]
    assert open_image_source(str(tmp_path / "a.tar"), unlabelled=True).labels is None


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    source = open_image_source(tar_of(tmp_path / "a.tar", {"photos/0.png": png_bytes(), "photos/1.png": png_bytes(1)}))
    assert source.labels is None
    assert source.warnings() == ["no labels were found, so the images have none; pass --unlabelled if that is meant"]
    assert not open_image_source(str(tmp_path / "a.tar"), unlabelled=True).warnings()


IMAGE, OTHER = png_bytes(), png_bytes(1)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0.png": IMAGE, "0.txt": "a cat"}, r"no classes were found; beside the images lie \.txt 1, none a KEY\.cls"),
        ({"0.png": IMAGE, "0.json": "{}"}, r"no classes were found; beside the images lie \.json 1, .*--unlabelled"),
        (
            {"0.png": IMAGE, "0.json": '{"label": [1]}'},
            r"a\.tar: 0\.json: label is \[1\], expected a class index or",
        ),
        ({"0.png": IMAGE, "0.json": '{"label": NaN}'}, r"a\.tar: 0\.json is damaged or is not valid JSON"),
        ({"0.png": IMAGE, "0.json": "[" * 100_000}, r"a\.tar: 0\.json is damaged or is not valid JSON"),
        (
            {"0.png": IMAGE, "0.json": '{"label": 1}', "1.png": OTHER, "1.json": '{"cls": 2}'},
            r"a\.tar: 1\.json: label is None, expected",
        ),
        ({"0.png": IMAGE, "0.json": '{"label": 1}', "1.png": OTHER}, r"a\.tar: 1\.png has no JSON file, others have"),
        ({"0.png": IMAGE, "0.cls": "1", "0.CLS": "2"}, r"key 0 has two files of its class, 0\.cls and 0\.CLS"),
        ({"ant/0.png": IMAGE, "1.png": OTHER}, r"images lie in folders inside the tar files, but '1\.png' in none"),
        ({"x/ant/0.png": IMAGE, "x/../1.png": OTHER}, r"but 'x/\.\./1\.png' in none that could be its class"),
        ({"train/0.png": IMAGE, "val/1.png": OTHER}, r"holds the folders train, val, which look like splits"),
    ],
)
def test_tar_files_without_clear_labels_are_refused(tmp_path: Path, members: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_image_source(tar_of(tmp_path / "a.tar", members))
    assert open_image_source(str(tmp_path / "a.tar"), unlabelled=True).labels is None


def test_absence_of_labels_is_said(image: Callable, tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    assert "no labels were found" in open_image_source(tmp_path).warnings()[0]
    assert not open_image_source(tmp_path, unlabelled=True).warnings()
    assert "no labels were found" in opened(tmp_path, "a.png\n", "list.txt").warnings()[0]
