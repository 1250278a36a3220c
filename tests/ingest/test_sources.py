"""Sources of images: what they find, in which order, with which labels, and what they refuse."""

import io
import json
import os
import pickle
import tarfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from helpers.mmpretrain_data import ONE_CLASS, dataset_config
from seitpp.ingest import open_image_source
from seitpp.ingest.sources import ImageSource, files, folders
from seitpp.ingest.sources.tars import expand_tar_pattern


def label_names(source: ImageSource) -> dict[str, str]:
    """Class name of each image."""
    return {name: source.classes[label] for name, label in zip(source.names, source.labels, strict=True)}


def png_bytes(seed: int = 0) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# Folders


def test_class_folders(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path, per_class=2)
    image(tmp_path / "ant" / "deep" / "er" / "0.PNG")
    source = open_image_source(tmp_path)
    assert source.classes == ["ant", "bee"] and source.label_kind == "class"
    assert source.names == ["ant/0.png", "ant/1.png", "ant/deep/er/0.PNG", "bee/0.png", "bee/1.png"]
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1])
    assert source.read(3) == (tmp_path / "bee" / "0.png").read_bytes()


def test_order_is_not_that_of_the_file_system(
    class_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folder(tmp_path, classes=("b", "a", "a b", "a-b"))
    scandir = os.scandir

    def scan(path: str, backwards: bool) -> AbstractContextManager[list[os.DirEntry]]:
        with scandir(path) as entries:
            return nullcontext(sorted(entries, key=lambda entry: entry.name, reverse=backwards))

    found = []
    for backwards in (False, True):
        monkeypatch.setattr(files.os, "scandir", partial(scan, backwards=backwards))
        found.append(open_image_source(tmp_path))
    first, second = found
    assert first.names == second.names and first.fingerprint() == second.fingerprint()
    assert first.classes == ["a", "a b", "a-b", "b"]
    assert label_names(first) == {name: name.split("/")[0] for name in first.names}
    assert (np.diff(first.labels) >= 0).all()


def test_split_is_a_sub_folder(class_folder: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path / "train", per_class=3)
    class_folder(tmp_path / "val", per_class=1)
    assert len(open_image_source(tmp_path, split="train")) == 6
    assert open_image_source(tmp_path, split="val").names == ["ant/0.png", "bee/0.png"]


def test_unlabelled_folder(image: Callable, tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "x.jpg").mkdir()
    source = open_image_source(tmp_path)
    assert source.names == ["a.png", "b.png"] and source.labels is None and source.label_kind == "none"


def test_unlabelled_option_ignores_folders(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    image(class_folder(tmp_path, per_class=1) / "top.png")
    source = open_image_source(tmp_path, unlabelled=True)
    assert source.names == ["ant/0.png", "bee/0.png", "top.png"] and source.labels is None


def test_names_with_blanks_and_other_alphabets(image: Callable, tmp_path: Path) -> None:
    for name in ("große Katze/фото 1.png", "große Katze/写真.png", "ein Hund/#1%?.png"):
        image(tmp_path / name)
    source = open_image_source(tmp_path)
    assert source.classes == ["ein Hund", "große Katze"]
    assert all(source.read(index).startswith(b"\x89PNG") for index in range(3))


def test_hidden_files_are_left_out(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path, per_class=1)
    image(tmp_path / ".cache" / "0.png")
    image(tmp_path / "ant" / ".0.png")
    assert open_image_source(tmp_path).names == ["ant/0.png", "bee/0.png"]


def test_linked_folders_are_followed(class_folder: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path / "elsewhere", per_class=1)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat").symlink_to(tmp_path / "elsewhere" / "ant")
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere" / "bee")
    assert open_image_source(tmp_path / "images").names == ["cat/0.png", "dog/0.png"]


def test_link_that_goes_round_is_followed_no_further(class_folder: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path, per_class=1)
    (tmp_path / "ant" / "again").symlink_to(tmp_path)
    (tmp_path / "bee" / "self").symlink_to(tmp_path / "bee")
    assert open_image_source(tmp_path).names == ["ant/0.png", "bee/0.png"]


def test_folder_that_cannot_be_read_is_an_error(
    class_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folder(tmp_path)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        open_image_source(tmp_path)


def test_class_names_set_the_order(class_folder: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path / "images", per_class=1)
    (tmp_path / "classes.txt").write_bytes(b"cat\r\nbee\r\nant\r\n")
    source = open_image_source(tmp_path / "images", classes_file=str(tmp_path / "classes.txt"))
    assert source.classes == ["cat", "bee", "ant"] and label_names(source) == {"ant/0.png": "ant", "bee/0.png": "bee"}
    np.testing.assert_array_equal(source.labels, [1, 2])
    (tmp_path / "classes.txt").write_text("ant\ncat\n")
    with pytest.raises(ValueError, match="folder 'bee' is not among the 2 class names given"):
        open_image_source(tmp_path / "images", classes_file=str(tmp_path / "classes.txt"))
    (tmp_path / "classes.txt").write_text("ant\nant\n")
    with pytest.raises(ValueError, match=r"classes.txt, line 2 is 'ant', as line 1 is; class names must differ"):
        open_image_source(tmp_path / "images", classes_file=str(tmp_path / "classes.txt"))


def test_class_with_one_image_is_warned_of(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    assert open_image_source(class_folder(tmp_path)).warnings() == []
    image(tmp_path / "wasp" / "0.png")
    assert open_image_source(tmp_path).warnings() == ["classes with a single image: 1, such as 'wasp'"]


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no images: no files; expected image files or one folder of them"):
        open_image_source(tmp_path)
    (tmp_path / "a.pdf").touch()
    with pytest.raises(ValueError, match=r"holds no images: 1 files of other kinds, such as a.pdf"):
        open_image_source(tmp_path)


@pytest.mark.parametrize("content", ["nothing", "a file of another kind"])
def test_class_folder_without_images_is_refused(content: str, class_folder: Callable, tmp_path: Path) -> None:
    class_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    if content != "nothing":
        (tmp_path / "cat" / "notes.txt").touch()
    with pytest.raises(ValueError, match="class folder 'cat' holds no image; remove it or fill it"):
        open_image_source(tmp_path)


def test_images_beside_class_folders_are_refused(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    image(class_folder(tmp_path) / "top.png")
    with pytest.raises(ValueError, match=r"holds images beside class folders, such as top.png; move them into"):
        open_image_source(tmp_path)


def test_splits_are_not_taken_for_classes(class_folder: Callable, tmp_path: Path) -> None:
    for split in ("train", "val"):
        class_folder(tmp_path / split)
    with pytest.raises(ValueError, match=r"folders train, val, which look like splits .*; name one with --split train"):
        open_image_source(tmp_path)


def test_unknown_split_is_refused(class_folder: Callable, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--split nope names a sub-folder of .*, where there are: ant, bee"):
        open_image_source(class_folder(tmp_path), split="nope")


def test_output_among_the_images_is_refused(class_folder: Callable, tmp_path: Path) -> None:
    source = open_image_source(class_folder(tmp_path / "images"))
    source.refuse_inside(str(tmp_path / "images-tokens"))
    source.refuse_inside("memory://images/tokens")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for out in (tmp_path / "images", tmp_path / "images" / "tokens", tmp_path / "link" / "tokens"):
        with pytest.raises(ValueError, match=r"lies inside .*images, where images are looked for; name a folder"):
            source.refuse_inside(str(out))


def test_planning_for_many_names_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{label:04d}/n{label:04d}_{number:05d}.JPEG" for label in range(100) for number in range(1000)]
    monkeypatch.setattr(folders, "list_files", lambda root: names)
    monkeypatch.setattr(folders, "list_folders", lambda root: sorted({name.split("/")[0] for name in names}))
    start = time.process_time()
    source = folders.FolderSource(str(tmp_path))
    source.describe()
    source.warnings()
    assert len(source) == 100_000 and time.process_time() - start < 3  # a million: ten times as much


# Lists


@pytest.fixture
def listed(image: Callable, tmp_path: Path) -> Path:
    """A folder with a few images."""
    for name in ("a.png", "sub/b c.png", "d.png"):
        image(tmp_path / name)
    return tmp_path


def list_of(folder: Path, text: str, name: str = "list.txt") -> str:
    (folder / name).write_bytes(text.encode())
    return str(folder / name)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_list_with_labels(listed: Path, end: str) -> None:
    source = open_image_source(list_of(listed, f"d.png 2{end}sub/b c.png 0{end}{end}a.png 10{end}"))
    assert source.names == ["d.png", "sub/b c.png", "a.png"] and source.classes is None
    np.testing.assert_array_equal(source.labels, [2, 0, 10])
    assert source.read(1) == (listed / "sub" / "b c.png").read_bytes()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_list_without_labels(listed: Path, end: str) -> None:
    source = open_image_source(list_of(listed, f"\ufeffsub/b c.png{end}a.png"))
    assert source.names == ["sub/b c.png", "a.png"] and source.labels is None


def test_list_elsewhere_with_a_root(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = list_of(tmp_path_factory.mktemp("lists"), f"a.png\n{listed / 'd.png'}\n")
    source = open_image_source(path, root=str(listed))
    assert [source.read(index) for index in range(2)] == [(listed / name).read_bytes() for name in ("a.png", "d.png")]


def test_relative_list(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_of(listed, "a.png\n")
    monkeypatch.chdir(listed)
    assert open_image_source("list.txt").read(0) == (listed / "a.png").read_bytes()


def test_csv_with_class_names(listed: Path) -> None:
    text = 'Label,path\r\nwasp,a.png\r\nant,"sub/b c.png"\r\n'
    source = open_image_source(list_of(listed, text, "list.csv"))
    assert source.classes == ["ant", "wasp"] and label_names(source) == {"a.png": "wasp", "sub/b c.png": "ant"}


def test_csv_with_indices_and_without_labels(listed: Path) -> None:
    source = open_image_source(list_of(listed, "img_path,gt_label\na.png,7\nd.png,0\n", "list.csv"))
    np.testing.assert_array_equal(source.labels, [7, 0])
    assert open_image_source(list_of(listed, "path\na.png\n", "list.csv")).labels is None


def test_labels_of_a_list_can_be_left_out(listed: Path) -> None:
    source = open_image_source(list_of(listed, "a.png 3\nd.png 4\n"), unlabelled=True)
    assert source.names == ["a.png", "d.png"] and source.labels is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", "\n\n", "names no images; expected one path per line"),
        ("list.txt", "a.png\nd.png\na.png\n", r"line 3: a.png is named already in line 1"),
        ("list.txt", "a.png 1\n./a.png 1\n", r"line 2: ./a.png is named already in line 1"),
        ("list.txt", "a.png 1\nd.png\n", "line 2: the label is missing, while other lines have one"),
        ("list.txt", "a.png 99999999999999999999999\n", "label 99999999999999999999999 is above 4294967295"),
        ("list.csv", "image;label\na.png;1\n", r"names the columns \['image;label'\], expected one called 'path'"),
        ("list.csv", "path,label\na.png,1\n,2\n", "line 3: the path is missing"),
        ("list.csv", "path,label\na.png,1\nd.png,\n", "line 3: the label is missing"),
        ("list.csv", 'path\n"a.png', "is not a CSV file: unexpected end of data"),
    ],
)
def test_wrong_lists_are_refused(listed: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_image_source(list_of(listed, text, name))


def test_list_in_another_encoding_is_refused(listed: Path) -> None:
    (listed / "list.txt").write_bytes("größe.png".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list.txt is not a list in UTF-8"):
        open_image_source(str(listed / "list.txt"))


def test_label_beyond_the_class_names_is_refused(listed: Path) -> None:
    (listed / "classes.txt").write_text("ant\nbee\n")
    options = {"classes_file": str(listed / "classes.txt")}
    with pytest.raises(ValueError, match="line 2: label 2 is not below 2, the number of classes"):
        open_image_source(list_of(listed, "a.png 1\nd.png 2\n"), **options)
    with pytest.raises(ValueError, match="line 2: label 'cat' is not among the 2 classes"):
        open_image_source(list_of(listed, "path,label\na.png,cat\n", "list.csv"), **options)


# Pairs


def test_images_with_annotations(pair_folder: Callable, tmp_path: Path) -> None:
    pair_folder(tmp_path, 2, "training")
    pair_folder(tmp_path, 1, "validation")
    source = open_image_source(tmp_path, split="training", reduce_zero_label=True)
    assert source.names == ["0.png", "1.png"] and source.label_kind == "segmentation" and source.reduce_zero_label
    assert source.read_annotation(1) == (tmp_path / "annotations" / "training" / "1.png").read_bytes()
    assert len(open_image_source(tmp_path)) == 3
    assert open_image_source(tmp_path, split="training", unlabelled=True).label_kind == "none"


def test_annotations_elsewhere(pair_folder: Callable, tmp_path: Path) -> None:
    pair_folder(tmp_path, 2)
    images, maps = tmp_path / "images" / "training", tmp_path / "annotations" / "training"
    assert open_image_source(images, annotations=str(maps)).annotated


def test_image_without_annotation_is_refused(pair_folder: Callable, tmp_path: Path) -> None:
    (pair_folder(tmp_path) / "annotations" / "training" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1 images in .* have no annotation in .*, such as 1.png; expected"):
        open_image_source(tmp_path, split="training")


def test_annotation_without_image_is_refused(pair_folder: Callable, tmp_path: Path) -> None:
    (pair_folder(tmp_path) / "images" / "training" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1 annotations in .* have no image in .*, such as 1.png"):
        open_image_source(tmp_path, split="training")


def test_images_that_differ_in_their_ending_alone_are_refused(
    pair_folder: Callable, image: Callable, tmp_path: Path
) -> None:
    image(pair_folder(tmp_path) / "images" / "training" / "1.jpg")
    with pytest.raises(ValueError, match="holds two images that differ in their ending alone: 1"):
        open_image_source(tmp_path, split="training")


def test_annotated_folder_without_images_is_refused(pair_folder: Callable, tmp_path: Path) -> None:
    pair_folder(tmp_path, 0)
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    with pytest.raises(ValueError, match="images holds no images"):
        open_image_source(tmp_path)


# Tar files


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shards(folder: Path, count: int = 3, labelled: bool = True) -> Path:
    for number in range(count):
        members = {}
        for place in range(2):
            key = f"{number}{place:03d}"
            members[f"{key}.png"] = png_bytes(10 * number + place)
            if labelled:
                members[f"{key}.cls"] = str(number).encode()
        write_tar(folder / f"train-{number:03d}.tar", members)
    return folder


def test_one_tar_file(tmp_path: Path) -> None:
    source = open_image_source(str(shards(tmp_path) / "train-001.tar"))
    assert source.names == ["train-001.tar/1000.png", "train-001.tar/1001.png"]
    assert source.read(1) == png_bytes(11)
    np.testing.assert_array_equal(source.labels, [1, 1])


@pytest.mark.parametrize("pattern", ["", "train-{000..002}.tar"])
def test_several_tar_files(tmp_path: Path, pattern: str) -> None:
    source = open_image_source(str(shards(tmp_path) / pattern))
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1, 2, 2])
    assert [source.read(index) for index in range(6)] == [png_bytes(seed) for seed in (0, 1, 10, 11, 20, 21)]


def test_brace_patterns() -> None:
    assert expand_tar_pattern("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_tar_pattern("{0..1}/{0..1}.tar") == ["0/0.tar", "0/1.tar", "1/0.tar", "1/1.tar"]


def test_tar_files_of_the_webdataset_package(tmp_path: Path) -> None:
    import webdataset  # takes a second, and only this test needs it

    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    with webdataset.TarWriter(str(tmp_path / "wds-0.tar")) as writer:
        for number in range(3):
            sample = {"__key__": f"sample{number}", "png": pixels[number], "cls": number, "json": {"some": "facts"}}
            writer.write(sample)
    source = open_image_source(str(tmp_path / "wds-0.tar"))
    np.testing.assert_array_equal(source.labels, [0, 1, 2])
    for number in range(3):
        np.testing.assert_array_equal(np.asarray(source.load(number, 3)[0]), pixels[number])


def test_tar_without_classes(tmp_path: Path) -> None:
    assert open_image_source(shards(tmp_path / ".", labelled=False)).labels is None
    assert open_image_source(shards(tmp_path), unlabelled=True).labels is None


def test_hidden_members_of_a_tar_are_left_out(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"./._0.png": b"resource fork", "./0.png": png_bytes()})
    assert open_image_source(str(path)).names == ["a.tar/./0.png"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0.txt": b""}, "holds no images in its 1 tar files"),
        ({"0.png": png_bytes(), "0.jpg": b""}, r"key 0 has two images, 0.png and 0.jpg"),
        ({"0.png": png_bytes(), "0.cls": b"cat"}, r"0.cls holds 'cat', expected a class index"),
        ({"0.png": png_bytes(), "0.cls": b"9" * 30}, "expected a class index"),
        (
            {"0.png": png_bytes(), "0.cls": b"1", "1.png": png_bytes()},
            r"1.png has no class beside it \(.cls\), others have one",
        ),
    ],
)
def test_wrong_tar_files_are_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_image_source(str(write_tar(tmp_path / "a.tar", members)))


def test_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"0.png": png_bytes()}, "w:gz")
    with pytest.raises(ValueError, match=r"a.tar is not an uncompressed tar file: .*; unpack a compressed one"):
        open_image_source(str(path))
    path.rename(tmp_path / "a.tar.gz")
    with pytest.raises(ValueError, match=r"a.tar.gz is not a source .*; unpack it, compressed tar files cannot"):
        open_image_source(str(tmp_path / "a.tar.gz"))


def test_truncated_tar_is_refused(tmp_path: Path) -> None:
    path = shards(tmp_path, 1) / "train-000.tar"
    content = path.read_bytes()
    for size in range(1000, 4096, 256):  # within members, at their borders, and without the end
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"not an uncompressed tar file: (unexpected end of data|it is damaged)"):
            open_image_source(str(path))


def test_missing_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train-003.tar"):
        open_image_source(str(shards(tmp_path) / "train-{000..003}.tar"))


# OpenMMLab configs


def write_config(folder: Path, dataset: str, scope: str | None) -> str:
    text = f"train_dataloader = dict(dataset={dataset})\n"
    (folder / "config.py").write_text(text if scope is None else f"{text}default_scope = '{scope}'\n")
    return str(folder / "config.py")


@pytest.mark.parametrize(("prefix", "scope"), [("mmpretrain.", None), ("mmpretrain.", "seitpp"), ("", "mmpretrain")])
def test_mmpretrain_data_set(class_folder: Callable, tmp_path: Path, prefix: str, scope: str | None) -> None:
    class_folder(tmp_path / "images", per_class=2)
    dataset = f"dict(type='{prefix}CustomDataset', data_root={str(tmp_path / 'images')!r}, pipeline=[dict(type='No')])"
    path = write_config(tmp_path, dataset, scope)
    source = open_image_source(path)
    assert source.classes == ["ant", "bee"] and source.kind == "mm-dataset"
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1])
    assert source.read(2) == (tmp_path / "images" / "bee" / "0.png").read_bytes()
    assert open_image_source(path, unlabelled=True).labels is None
    with pytest.raises(ValueError, match="has no val_dataloader with a dataset; choose another --split"):
        open_image_source(path, split="val")


@pytest.mark.parametrize("kind", ["BaseSegDataset", "ADE20KDataset"])
def test_mmseg_data_set(pair_folder: Callable, tmp_path: Path, kind: str) -> None:
    pair_folder(tmp_path, 2)
    prefix = "dict(img_path='images/training', seg_map_path='annotations/training')"
    suffix = ", img_suffix='.png'"
    path = write_config(
        tmp_path, f"dict(type='mmseg.{kind}', data_root={str(tmp_path)!r}, data_prefix={prefix}{suffix})", "mmseg"
    )
    if kind == "ADE20KDataset":  # it looks for .jpg
        for file in (tmp_path / "images" / "training").iterdir():
            file.rename(file.with_suffix(".jpg"))
        Path(path).write_text(Path(path).read_text().replace(suffix, ""))
    source = open_image_source(path)
    assert source.annotated and len(source) == 2 and source.reduce_zero_label == (kind == "ADE20KDataset")
    assert source.read_annotation(0) == (tmp_path / "annotations" / "training" / "0.png").read_bytes()
    assert (len(source.classes) == 150) if kind == "ADE20KDataset" else source.classes is None


def test_mmseg_data_set_of_some_classes_is_refused(pair_folder: Callable, tmp_path: Path) -> None:
    pair_folder(tmp_path, 2)
    prefix = "dict(img_path='images/training', seg_map_path='annotations/training')"
    dataset = f"dict(type='mmseg.ADE20KDataset', data_root={str(tmp_path)!r}, data_prefix={prefix}"
    path = write_config(tmp_path, f"{dataset}, img_suffix='.png', metainfo=dict(classes=('wall', 'sky')))", "mmseg")
    with pytest.raises(ValueError, match="renumbers its classes, which are not renumbered in label maps here"):
        open_image_source(path)


def test_mmseg_data_set_that_ignores_another_value_is_refused(pair_folder: Callable, tmp_path: Path) -> None:
    pair_folder(tmp_path, 2)
    prefix = "dict(img_path='images/training', seg_map_path='annotations/training')"
    dataset = f"dict(type='mmseg.BaseSegDataset', data_root={str(tmp_path)!r}, data_prefix={prefix}, img_suffix='.png'"
    path = write_config(tmp_path, f"{dataset}, ignore_index=0)", "mmseg")
    with pytest.raises(ValueError, match="the data set's ignore_index is 0, but stores take 255 for ignored pixels"):
        open_image_source(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0.png -1", r"the gt_label of .*0\.png is -1, expected a class index from 0 to 4294967295"),
        (f"0.png {2**70}", rf"the gt_label of .*0\.png is {2**70}, expected a class index"),
        ("0.png 0,1", r"config.py: the data set 'mmpretrain.CustomDataset' cannot be opened: invalid literal for int"),
        ("", r"config.py: the data set 'mmpretrain.CustomDataset' cannot be opened: need at least one array"),
    ],
)
def test_annotations_that_are_no_class_indices_are_refused(
    lines: str, message: str, image: Callable, tmp_path: Path
) -> None:
    image(tmp_path / "0.png")
    (tmp_path / "list.txt").write_text(lines)
    options = f"data_root={str(tmp_path)!r}, ann_file='list.txt', data_prefix=''"
    with pytest.raises(ValueError, match=message):
        open_image_source(write_config(tmp_path, f"dict(type='mmpretrain.CustomDataset', {options})", "mmpretrain"))


@pytest.mark.parametrize("dataset", ["5", "None", "[1]"])
def test_data_set_that_is_none_is_refused(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no train_dataloader with a dataset"):
        open_image_source(write_config(tmp_path, dataset, None))


def test_data_set_of_several_labels_an_image_is_refused(image: Callable, tmp_path: Path) -> None:
    image(tmp_path / "0.png")
    entries = {"metainfo": {"classes": ["a", "b"]}, "data_list": [{"img_path": "0.png", "gt_label": [0, 1]}]}
    (tmp_path / "labels.json").write_text(json.dumps(entries))
    dataset = f"dict(type='mmpretrain.MultiLabelDataset', data_root={str(tmp_path)!r}, ann_file='labels.json')"
    path = write_config(tmp_path, dataset, None)
    with pytest.raises(ValueError, match=r"the gt_label of .*0\.png is \[0, 1\], expected one class index\. A store"):
        open_image_source(path)
    assert open_image_source(path, unlabelled=True).labels is None


@pytest.mark.parametrize("dataset", ["dict(type='Nothing')", "dict(type='RepeatDataset', times=2, dataset=dict())"])
def test_data_set_that_cannot_be_opened_is_refused(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(ValueError, match=r"config\.py: the data set '(Nothing|RepeatDataset)' cannot be opened: "):
        open_image_source(write_config(tmp_path, dataset, "mmpretrain"))


@pytest.mark.parametrize("kind", ONE_CLASS)
def test_data_sets_of_mmpretrain(kind: str, tmp_path: Path) -> None:
    """Of files and of arrays in memory, whatever type their labels have."""
    source = open_image_source(write_config(tmp_path, repr(dataset_config(kind, tmp_path / "data")), None))
    expected = {"CustomDataset": [0, 1, 1], "Flowers102": [5, 6], "Food101": [3, 4, 5]}.get(kind, [5, 6, 7])
    assert source.labels.tolist() == expected and source.labels.dtype == np.int64
    assert source.load(0, 3)[0].size == (16, 16)


@pytest.mark.parametrize(
    ("wrapper", "labels"),
    [
        ("dict(type='RepeatDataset', times=3, dataset={})", [0, 1, 1]),
        ("dict(type='ConcatDataset', datasets=[{}])", [0, 1, 1]),
        ("dict(type='KFoldDataset', num_splits=3, dataset={})", [1, 1]),
        ("dict(type='RepeatDataset', times=3, dataset=dict(type='KFoldDataset', num_splits=3, dataset={}))", [1, 1]),
    ],
)
def test_wrapped_data_sets(wrapper: str, labels: list[int], tmp_path: Path) -> None:
    dataset = {**dataset_config("CustomDataset", tmp_path / "data"), "pipeline": [{"type": "No"}]}
    source = open_image_source(write_config(tmp_path, wrapper.format(dataset), "mmpretrain"))
    assert source.labels.tolist() == labels
    repeated = any("RepeatDataset repeats images, and a store holds each once" in line for line in source.warnings())
    assert repeated == wrapper.startswith("dict(type='Repeat")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("dict(type='CIFAR10', data_root='x')", "it reads pickled files, .* Take CIFAR's binary version"),
        (
            "dict(type='RepeatDataset', times=2, dataset=dict(type='mmpretrain.CIFAR100', data_root='x'))",
            "it reads pickled files",
        ),
        ("dict(type='CustomDataset', ann_file='a.pkl')", r"a\.pkl is a pickle, which can run code; save"),
        ("dict(type='MNIST', data_root='/nowhere')", "Cannot find MNIST dataset in /nowhere/"),
    ],
)
def test_data_sets_that_unpickle_or_download_are_refused(dataset: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot be opened: {message}"):
        open_image_source(write_config(tmp_path, dataset, "mmpretrain"))


# Any of them


def test_class_folders_behind_a_url(class_folder: Callable, tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    class_folder(tmp_path)
    memory.put(f"{tmp_path}/", "/images", recursive=True)
    local = open_image_source(tmp_path)
    for url in ("memory://images", "memory://images/", tmp_path.as_uri()):
        remote = open_image_source(url)
        assert remote.names == local.names and remote.fingerprint() == local.fingerprint()
        assert remote.read(5) == local.read(5)


def test_list_and_tar_behind_a_url(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    memory.pipe("/a.png", png_bytes(1))
    memory.pipe("/list.txt", b"a.png 3\n")
    memory.pipe("/shard.tar", (shards(tmp_path) / "train-002.tar").read_bytes())
    assert open_image_source("memory://list.txt").read(0) == png_bytes(1)
    assert open_image_source("memory://shard.tar").read(1) == png_bytes(21)


def test_pairs_behind_a_url(pair_folder: Callable, memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    memory.put(f"{pair_folder(tmp_path)}/", "/ade", recursive=True)
    source = open_image_source("memory://ade", split="training")
    assert source.annotated and source.read_annotation(0).startswith(b"\x89PNG")


def test_sources_can_be_pickled(class_folder: Callable, pair_folder: Callable, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    paths = [class_folder(tmp_path / "a"), pair_folder(tmp_path / "b"), shards(tmp_path / "tars")]
    for path in paths:
        source = open_image_source(path)
        copy = pickle.loads(pickle.dumps(source))
        assert copy.read(1) == source.read(1) and copy.fingerprint() == source.fingerprint()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("list.txt", {"split": "train"}, "is a list, for which --split means nothing; leave it out"),
        ("list.txt", {"annotations": "maps"}, "is a list, for which --annotations means nothing"),
        ("a.tar", {"root": "x"}, "is a tar file, for which --root means nothing"),
        ("config.py", {"annotations": "maps"}, "is a config, for which --annotations means nothing"),
        ("images", {"reduce_zero_label": True}, "without annotations, for which --reduce-zero-label means nothing"),
        ("images", {"root": "x"}, "for which --root means nothing"),
    ],
)
def test_options_without_a_meaning_are_refused(
    class_folder: Callable, tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    class_folder(tmp_path / "images")
    with pytest.raises(ValueError, match=message):
        open_image_source(tmp_path / name, **options)


@pytest.mark.parametrize("name", ["nothing", "nothing.txt"])
def test_missing_source_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name} does not exist; expected images: a folder, a list"):
        open_image_source(tmp_path / name)


def test_single_image_is_no_source(image: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.png is not a source of images; expected a folder, a \.txt, \.csv"):
        open_image_source(image(tmp_path / "a.png"))
