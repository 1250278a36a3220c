"""Which files are read as images, and that all others are counted wherever images are looked for."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from class_lists import LabelledImages, describe_lists, images_of_classes
from mmengine.logging import MMLogger
from PIL import Image

from seitpp.apis.inputs import images_in
from seitpp.datasets import ImageDataset
from seitpp.images.decoding import FORMATS
from seitpp.ingest import Processes, make_plan, make_report, open_image_source, tokenize

OTHERS = ["notes.PDF", "b.pdf", "README", "c.eps"]
COUNTED = {".pdf": 2, "(none)": 1, ".eps": 1}
SAID = r"by their ending: .pdf 2, (none) 1, .eps 1"


def with_others(folder: Path) -> Path:
    for name in OTHERS:
        (folder / name).write_text("no image")
    return folder


def counted(found: dict) -> dict:
    assert next(iter(found)) == ".pdf"  # the most frequent first
    return dict(found)


@pytest.mark.parametrize(
    "ending",
    ["jp2", "tga", "JPE", "Tiff", "pbm", "JFIF", "webp", *(["avif"] if "AVIF" in FORMATS else [])],
)
def test_files_are_read_whatever_the_ending_of_their_format(tmp_path: Path, ending: str) -> None:
    image = Image.new("1" if ending == "pbm" else "RGB", (16, 16), 1 if ending == "pbm" else (200, 30, 40))
    kind = Image.registered_extensions()[f".{ending.lower()}"]
    image.save(tmp_path / f"a.{ending}", kind)
    source = open_image_source(tmp_path)
    assert source.names == [f"a.{ending}"] and not source.skipped
    assert source.load(0, 3)[0].size == (16, 16)
    assert images_in(tmp_path) == [tmp_path / f"a.{ending}"]


def test_folders_say_what_they_skip(class_folder: Callable, tmp_path: Path) -> None:
    with_others(class_folder(tmp_path / "images") / "ant")
    for options in ({}, {"unlabelled": True}):
        source = open_image_source(tmp_path / "images", **options)
        assert counted(source.skipped) == COUNTED
        assert source.warnings()[0].startswith(f"files that were not taken for images, {SAID}; name a file in a list")
    (others := tmp_path / "others").mkdir()
    with pytest.raises(ValueError, match=r"holds no images: 4 files of other kinds, .* \(\.pdf 2, \(none\) 1, "):
        open_image_source(with_others(others))


def test_pairs_say_what_they_skip(pair_folder: Callable, tmp_path: Path) -> None:
    with_others(pair_folder(tmp_path) / "images" / "training")
    (tmp_path / "annotations" / "training" / "0.npy").touch()
    assert open_image_source(tmp_path, split="training").skipped == {**COUNTED, ".npy": 1}


def test_tar_files_say_what_they_skip(image: Callable, tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("a.png")
    os.mkfifo(tmp_path / "d.png")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("a.png", "b.png", "c.png", "d.png"):
            archive.add(tmp_path / name, name)
        for name in OTHERS:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    source = open_image_source(str(tmp_path / "a.tar"), unlabelled=True)
    assert source.names == ["a.tar/a.png"]
    assert source.skipped == {**COUNTED, "(hard link)": 1, "(link)": 1, "(device or pipe)": 1}


def test_lists_read_files_whatever_their_ending(image: Callable, tmp_path: Path) -> None:
    image(tmp_path / "a.png").rename(tmp_path / "a")
    (tmp_path / "list.txt").write_text("a\n")
    source = open_image_source(str(tmp_path / "list.txt"))
    assert source.load(0, 3)[0].size == (16, 16) and not source.skipped


def test_data_sets_of_configs_say_what_they_skip(class_folder: Callable, image: Callable, tmp_path: Path) -> None:
    root = class_folder(tmp_path / "images", per_class=2)
    image(root / "ant" / "left-out.tga")
    (tmp_path / "config.py").write_text(
        "default_scope = 'mmpretrain'\n"
        f"train_dataloader = dict(dataset=dict(type='CustomDataset', data_prefix={str(root)!r}, pipeline=[]))\n"
    )
    source = open_image_source(str(tmp_path / "config.py"))
    assert len(source) == 4 and source.skipped == {".tga": 1}


def test_report_counts_them(class_folder: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = class_folder(tmp_path / "images")
    with_others(root / "bee")
    plan = make_plan(make_job(root, tmp_path / "store"), Processes())
    report = make_report(plan, tokenize(plan, Processes(), lambda done, total: None, print))
    assert report.skipped_files == COUNTED
    assert json.loads((tmp_path / "store" / "report" / "report.json").read_bytes())["skipped_files"] == COUNTED


def test_scores_on_images_say_what_they_do_not_count(
    class_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "warning", lambda line, *_args: lines.append(line))
    with_others(class_folder(tmp_path) / "bee")
    tokenizer = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "codebook": np.zeros((4, 192))}
    assert ImageDataset(str(tmp_path), tokenizer).metainfo["skipped_files"] == COUNTED
    assert len(lines) == 1 and SAID in lines[0] and "scores do not count them" in lines[0]


def test_inferencers_and_converters_say_what_they_skip(
    class_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "log", lambda level, line: lines.append(line))
    root = class_folder(tmp_path)
    with_others(root / "ant")
    assert len(images_in(root / "ant")) == 4
    assert "4 files are not taken for images: README, b.pdf, c.eps, notes.PDF" in lines[0]
    images, skipped = images_of_classes(root, ["ant", "bee"])
    found = LabelledImages(["ant", "bee"], {"train": images}, skipped)
    assert f"not taken for images, {SAID}" in describe_lists(found, root, [root / "train.csv"])
