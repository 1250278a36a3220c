"""Sources with links, pipes, devices and names that are no text: a clear error, or an image that is left out."""

import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.apis.inputs import ImageInputs
from seitpp.ingest import Processes, make_plan, open_image_source, tokenize
from seitpp.ingest.loading import Fitting, ImageBatches
from seitpp.ingest.output import OutputFolder
from seitpp.ingest.sources import files

FITTING = Fitting(image_size=(16, 16), resize_mode="exact", in_channels=3, stride=8)


def png_bytes() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def reasons(source: object) -> dict[str, str]:
    return {name: reason for _, name, reason in ImageBatches(source, FITTING).__getitems__(range(len(source))).failures}


# Folders


def test_pipes_devices_and_links_among_images_are_left_out(class_folder: Callable, tmp_path: Path) -> None:
    root = class_folder(tmp_path, per_class=1)
    os.mkfifo(root / "ant" / "pipe.png")
    (root / "ant" / "zero.png").symlink_to("/dev/zero")
    (root / "bee" / "loop.png").symlink_to("loop.png")
    (root / "bee" / "gone.png").symlink_to("/nowhere/at/all.png")
    assert reasons(open_image_source(root)) == {
        "ant/pipe.png": "a pipe, socket or device where a file is expected",
        "ant/zero.png": "a pipe, socket or device where a file is expected",
        "bee/loop.png": "Too many levels of symbolic links",
        "bee/gone.png": "No such file or directory",
    }


@pytest.mark.parametrize("name", ["~root", "~", "file:", "local:x", "a::b"])
def test_folder_is_called_as_it_is(
    class_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Although fsspec takes such names for a home folder, a URL or a chain."""
    class_folder(tmp_path / name, per_class=1)
    monkeypatch.chdir(tmp_path)
    source = open_image_source(name)
    assert source.read(0) == (tmp_path / name / source.names[0]).read_bytes()


def test_empty_path_is_refused() -> None:
    for use in (open_image_source, OutputFolder):
        with pytest.raises(ValueError, match="a path is empty"):
            use("")


def test_folder_that_links_to_itself_is_no_class(class_folder: Callable, tmp_path: Path) -> None:
    root = class_folder(tmp_path, per_class=1)
    (root / "self").symlink_to("self")
    (root / "ant" / "up").symlink_to("..")
    source = open_image_source(root)
    assert source.classes == ["ant", "bee"] and source.names == ["ant/0.png", "bee/0.png"]
    assert source.skipped == {"(none)": 1}


def test_class_that_is_a_link_to_nothing_or_to_another_class_is_refused(class_folder: Callable, tmp_path: Path) -> None:
    root = class_folder(tmp_path, per_class=1)
    (root / "cow").symlink_to("bee")
    with pytest.raises(ValueError, match=r"class folders 'bee' and 'cow' are one and the same folder, by a link"):
        open_image_source(root)
    (root / "bee").rename(root / "not-a-class-any-more")
    with pytest.raises(ValueError, match=r"'cow' is a link that leads nowhere, perhaps a class; mend or remove it"):
        open_image_source(root)
    assert len(open_image_source(root, unlabelled=True)) == 2


def test_range_of_tar_files_is_bounded() -> None:
    for braces in ("{0..99999999999}", "{5..2}"):
        with pytest.raises(ValueError, match=rf"\{braces} names no range of 1 to 1,000,000 tar files"):
            open_image_source(f"x-{braces}.tar")


# Labels


@pytest.mark.parametrize(
    ("labels", "warning"),
    [
        ("112", "classes without an image: 1, such as 0; do the labels count from 1? Class indices count from 0"),
        ("005", "classes without an image: 4, such as 1"),
        ("001", None),
    ],
)
def test_class_indices_without_an_image_are_said(labels: str, warning: str | None, tmp_path: Path) -> None:
    lines = [f"{number}.png {label}\n" for number, label in enumerate(labels * 2)]
    (tmp_path / "list.txt").write_text("".join(lines))
    assert open_image_source(tmp_path / "list.txt").warnings() == ([] if warning is None else [warning])


@pytest.mark.parametrize("names", [("caf\u00e9", "cafe\u0301"), ("cat", "cat\u200b"), ("cat", "Cat"), ("cat", " cat ")])
def test_class_names_that_read_alike_are_said(names: tuple[str, str], class_folder: Callable, tmp_path: Path) -> None:
    root = class_folder(tmp_path, per_class=2, classes=(*names, "dog"))
    first, second = sorted(names)
    assert open_image_source(root).warnings() == [
        f"class names that read alike and yet are different classes: 1, such as {first!a} and {second!a}"
    ]


def test_image_named_relative_and_absolute_in_a_list_is_named_twice(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"0.png 1\n{tmp_path}/0.png 0\n")
    with pytest.raises(ValueError, match=r"line 2: .*/0\.png is named already in line 1"):
        open_image_source(tmp_path / "list.txt")


def test_maze_of_links_is_refused(class_folder: Callable, tmp_path: Path) -> None:
    names = tuple("abcdefgh")
    root = class_folder(tmp_path, per_class=1, classes=names)
    for name in names:
        for other in names:
            (root / name / f"to-{other}").symlink_to(f"../{other}")
    with pytest.raises(ValueError, match=r"links lead to the folder .* by more than 100 ways; remove links between"):
        open_image_source(root)


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "shard.tar"])
def test_pipe_in_place_of_a_source_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="a pipe, socket or device where a file is expected: .*" + name):
        open_image_source(str(tmp_path / name))


def test_pipe_in_place_of_class_names_is_refused(class_folder: Callable, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "classes.txt")
    with pytest.raises(OSError, match=r"a pipe, socket or device where a file is expected: .*classes\.txt"):
        open_image_source(class_folder(tmp_path / "images"), classes_file=str(tmp_path / "classes.txt"))


def test_inferencers_refuse_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"image .*a\.png is a pipe, expected a file"):
        ImageInputs([tmp_path / "a.png"], None)


def test_names_in_another_encoding(make_job: Callable, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "images")
    for path in (b"ant/\xff0.png", b"ant/\xff1.png", b"bee/0.png"):
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        with open(os.path.join(folder, path), "wb") as file:
            file.write(png_bytes())
    with open(os.path.join(folder, b"bee/\xfe.png"), "wb") as file:
        file.write(b"no image")
    plan = make_plan(make_job(tmp_path / "images", tmp_path / "store"), Processes())
    totals = tokenize(plan, Processes(), lambda done, total: None, print)
    assert totals.num_samples == 3 and len(totals.unreadable) == 1
    os.rename(os.path.join(folder, b"bee"), os.path.join(folder, b"bee\xe4"))
    with pytest.raises(ValueError, match=r"class folder 'bee\\udce4' has a name that is no text in UTF-8; rename it"):
        open_image_source(tmp_path / "images")


def test_folder_that_may_not_be_read_is_named(
    class_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scandir = class_folder(tmp_path), os.scandir

    def scan(path: str) -> object:
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", scan)
    with pytest.raises(PermissionError, match=r"Permission denied: .*bee"):
        open_image_source(root)


def test_one_class_is_said(class_folder: Callable, tmp_path: Path) -> None:
    assert open_image_source(class_folder(tmp_path, classes=("ant",))).warnings() == ["all 4 images are of one class"]


# Tar files


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def test_names_that_lead_elsewhere_are_names_alone(tmp_path: Path) -> None:
    members = [(tarfile.TarInfo(name), png_bytes()) for name in ("/etc/0.png", "../../1.png", "2.png")]
    source = open_image_source(tar_of(tmp_path / "a.tar", *members), unlabelled=True)
    assert source.names == ["a.tar//etc/0.png", "a.tar/../../1.png", "a.tar/2.png"] and not reasons(source)


def test_same_name_twice_is_refused(tmp_path: Path) -> None:
    members = [(tarfile.TarInfo("0.png"), png_bytes()) for _ in range(2)]
    with pytest.raises(ValueError, match=r"a\.tar: key 0 has two images, 0\.png and 0\.png"):
        open_image_source(tar_of(tmp_path / "a.tar", *members))


def test_sparse_members_are_skipped(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("0.png")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "0.png"}
    sparse.pax_headers["GNU.sparse.realsize"] = "1000"
    content = b"1\n0\n4\n".ljust(512, b"\0") + b"data"
    path = tar_of(tmp_path / "a.tar", (sparse, content), (tarfile.TarInfo("1.png"), png_bytes()))
    source = open_image_source(path)
    assert source.names == ["a.tar/1.png"] and source.skipped == {"(sparse file)": 1}


def test_member_that_claims_terabytes(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", (tarfile.TarInfo("0.cls"), b"1"), (tarfile.TarInfo("0.png"), png_bytes()))
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[124:136] = struct.pack(">B3xQ", 0x80, 2**43)
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar is not an uncompressed tar file: "):
        open_image_source(path)


def test_damaged_tar_files_raise_nothing_else(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    members = [(tarfile.TarInfo(name), content) for name, content in (("ä/0.png", png_bytes()), ("ä/0.cls", b"1"))]
    tar_of(tmp_path / "a.tar", *members)
    whole = (tmp_path / "a.tar").read_bytes()[:4096]
    for _ in range(300):
        content = bytearray(whole)
        for place in chance.integers(0, 2048, 3):
            content[place] = chance.integers(256)
        (tmp_path / "a.tar").write_bytes(content)
        try:
            reasons(open_image_source(str(tmp_path / "a.tar"), unlabelled=True))
        except ValueError as error:
            assert "a.tar" in str(error)
