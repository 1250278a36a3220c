"""Smaller sets of images: which images, their bytes, their names, going on after a failure, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seitpp.ingest import open_image_source, shrink
from seitpp.ingest.shrink import MANIFEST, STAGING, Shrinking, Shrunken, shrink_images, warnings_of
from seitpp.storage import choose_subset

JPEG5, HALF = Shrinking(jpeg_quality=5), Shrinking(fraction=0.5)


def write(path: Path, seed: int = 0, size: tuple[int, int] = (8, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images, six of each of two classes, in nested folders, with a file of another kind."""
    for number in range(12):
        write(tmp_path / "images" / "ab"[number % 2] / f"{number // 6}/{number:02d}.png", number)
    (tmp_path / "images/notes.txt").write_text("hello")
    return tmp_path / "images"


def run(path: Any, out: Path, how: Shrinking, **options: Any) -> Shrunken:
    options = {"num_workers": 0, **options}
    source = options.pop("source", None) or open_image_source(str(path))
    return shrink_images(source, out, how, lambda done, total: None, **options)[0]


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_share_is_that_of_token_stores_copied_byte_for_byte(images: Path, tmp_path: Path) -> None:
    result = run(images, tmp_path / "out", HALF)
    names = open_image_source(str(images)).names
    chosen = [names[number] for number in choose_subset(12, None, 1, fraction=0.5, class_balanced=False)]
    assert files(tmp_path / "out") == {name: (images / name).read_bytes() for name in chosen}
    whole = sum(path.stat().st_size for path in images.rglob("*.png"))
    assert (result.num_images, result.source_images, result.source_bytes) == (6, 12, whole)
    assert result.num_bytes == sum(map(len, files(tmp_path / "out").values())) < whole
    other = run(images, tmp_path / "other", Shrinking(count=6, seed=1))
    assert other.num_images == 6 and files(tmp_path / "other").keys() != set(chosen)


def test_every_image_becomes_a_small_jpeg_of_its_name(images: Path, tmp_path: Path) -> None:
    result = run(images, tmp_path / "out", Shrinking(jpeg_quality=5, scale=0.5), num_workers=1)
    written = files(tmp_path / "out")
    assert written.keys() == {name.replace(".png", ".jpg") for name in open_image_source(str(images)).names}
    with Image.open(tmp_path / "out/a/0/00.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (5, 4))
    assert result.num_bytes == sum(map(len, written.values()))
    assert open_image_source(str(tmp_path / "out")).classes == ["a", "b"]


def test_manifest_says_what_was_done(images: Path, tmp_path: Path) -> None:
    result = run(images, tmp_path / "out", Shrinking(count=4, scale=0.5))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["shrinking"] == {
        "count": 4,
        "seed": 0,
        "jpeg_quality": 75,
        "subsampling": "4:2:0",
        "scale": 0.5,
        "filter": "bicubic with antialiasing",
    }
    assert (manifest["num_images"], manifest["num_bytes"]) == (4, result.num_bytes)
    assert manifest["source"]["num_images"] == manifest["source_images"] == 12
    assert not (tmp_path / "out" / STAGING).exists()


def test_names_that_differ_in_their_ending_stay_apart(images: Path, tmp_path: Path) -> None:
    write(images / "a/0/00.bmp", 50)
    assert run(images, tmp_path / "out", JPEG5).num_images == 13
    assert {"a/0/00.bmp.jpg", "a/0/00.png.jpg", "a/0/02.jpg"} <= files(tmp_path / "out").keys()


def test_arrays_and_lists_become_class_folders(images: Path, tmp_path: Path) -> None:
    labels = np.repeat(np.arange(12), 2)
    np.save(tmp_path / "x_images.npy", np.arange(24 * 16, dtype=np.uint32).astype(np.uint8).reshape(24, 4, 4))
    np.save(tmp_path / "x_labels.npy", labels)
    run(tmp_path / "x_images.npy", tmp_path / "arrays", Shrinking(fraction=1.0))
    written = files(tmp_path / "arrays")
    assert list(written) == [f"{label:02d}/{number:08d}.png" for number, label in enumerate(labels)]
    with Image.open(tmp_path / "arrays/01/00000003.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.arange(48, 64).reshape(4, 4))
    (tmp_path / "list.csv").write_text(f"path,label\n{images}/a/0/00.png,z\nimages/b/0/01.png,y\n")
    run(tmp_path / "list.csv", tmp_path / "listed", Shrinking(fraction=1.0))
    assert list(files(tmp_path / "listed")) == ["y/00000001.png", "z/00000000.png"]


def test_joined_sources_and_missing_files_are_counted(images: Path, tmp_path: Path) -> None:
    write(tmp_path / "more/a/0.png")
    result = run(f"{images},{tmp_path / 'more'}", tmp_path / "joined", Shrinking(fraction=1.0))
    assert (result.num_images, result.source_bytes) == (13, result.num_bytes)
    (tmp_path / "list.txt").write_text("images/a/0/00.png\nimages/gone.png\n")
    result = run(tmp_path / "list.txt", tmp_path / "listed", Shrinking(fraction=1.0))
    assert (result.num_images, result.source_bytes, result.left_out[0][0]) == (1, None, "images/gone.png")


def test_failed_run_goes_on_where_it_was(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrink, "_CHUNK", 4)
    run(images, tmp_path / "expected", JPEG5)
    write_whole, made, read = shrink.write_whole, [], []

    def fail_at_the_sixth(path: Path, content: bytes) -> None:
        made.append(path)
        if len([one for one in made if one.suffix == ".jpg"]) == 6:
            path.with_name(f".{path.name}.tmp{'0' * 32}").write_bytes(b"half")  # as a killed process leaves it
            raise OSError(28, "No space left on device", str(path))
        write_whole(path, content)

    monkeypatch.setattr(shrink, "write_whole", fail_at_the_sixth)
    with pytest.raises(OSError, match="No space left"):
        run(images, tmp_path / "out", JPEG5)
    assert not (tmp_path / "out" / MANIFEST).exists()
    monkeypatch.setattr(shrink, "write_whole", write_whole)
    with pytest.raises(FileExistsError, match=r"out is of another run, its shrinking is .*'jpeg_quality': 5.* and not"):
        run(images, tmp_path / "out", Shrinking(jpeg_quality=6))
    source = open_image_source(str(images))
    monkeypatch.setattr(source, "read", lambda number: read.append(number) or type(source).read(source, number))
    assert run(images, tmp_path / "out", JPEG5, source=source) == run(images, tmp_path / "expected", JPEG5)
    assert read == list(range(4, 12))
    assert files(tmp_path / "out") == files(tmp_path / "expected")


def test_finished_result_is_left_alone_and_another_refused(images: Path, tmp_path: Path) -> None:
    first = run(images, tmp_path / "out", HALF)
    again, was_done = shrink_images(open_image_source(str(images)), tmp_path / "out", HALF, lambda done, total: None)
    assert was_done and again == first
    with pytest.raises(FileExistsError, match="another run, its shrinking"):
        run(images, tmp_path / "out", JPEG5)
    write(images / "a/new.png")
    with pytest.raises(FileExistsError, match="another run, its source"):
        run(images, tmp_path / "out", HALF)


def test_other_folders_are_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lies inside"):
        run(images, images / "a/out", JPEG5)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for out in (tmp_path / "full", tmp_path / "full/file"):
        with pytest.raises(FileExistsError, match="exists and is not of such a run"):
            run(images, out, JPEG5)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / MANIFEST).write_text("[1]")
    with pytest.raises(ValueError, match=r"shrink\.json holds a JSON list"):
        run(images, tmp_path / "junk", JPEG5)


def test_unreadable_images_are_named(images: Path, tmp_path: Path) -> None:
    (images / "a/0/00.png").write_bytes(b"no image")
    for name, how in (("copied", Shrinking(fraction=1.0)), ("jpeg", JPEG5)):
        result = run(images, tmp_path / name, how)
        assert result.left_out == [["a/0/00.png", "it is of no known image format, or its header is damaged"]]
        assert result.num_images == len(files(tmp_path / name)) == 11
        with pytest.raises(ValueError, match=r"images/a/0/00\.png cannot be read: it is of no known"):
            run(images, tmp_path / f"{name}-strict", how, strict=True)
    for path in images.rglob("a/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"1 classes, such as 'a', .* mend the files .*, such as a/0/00\.png: the file"
    ):
        run(images, tmp_path / "classless", JPEG5)
    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 12 images can be read, such as a/0/00"):
        run(images, tmp_path / "none", JPEG5)


def test_share_without_a_class_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 classes, such as '[ab]', would have none of the 1 images .* take more"):
        run(images, tmp_path / "out", Shrinking(count=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".hidden", " ", "a\\b", "\0", "x" * 256])
def test_class_names_that_lead_elsewhere_are_refused(tmp_path: Path, images: Path, name: str) -> None:
    source = open_image_source(str(images))
    source.classes = ["a", name]
    with pytest.raises(ValueError, match=r"class '.*'(\.\.\.)? (cannot be the name of a folder|has a name of more)"):
        run(images, tmp_path / "out", JPEG5, source=source)
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png", "a/../../evil.png"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, images: Path, name: str) -> None:
    source = open_image_source(str(images))
    source.names[3] = name
    with pytest.raises(ValueError, match="leads out of the folder"):
        run(images, tmp_path / "out", JPEG5, source=source)


def test_order_of_classes_that_folders_lose_is_told(tmp_path: Path, images: Path) -> None:
    (tmp_path / "classes.txt").write_text("b\na\n")
    ordered = open_image_source(str(images))
    turned = open_image_source(str(images), classes_file=str(tmp_path / "classes.txt"))
    assert not [line for line in warnings_of(ordered) if "another order" in line]
    assert [line for line in warnings_of(turned) if "another order" in line]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to do"),
        ({"fraction": 0.5, "count": 3}, "expected one of them"),
        ({"fraction": 0.0}, "share of the images is 0.0"),
        ({"fraction": float("nan")}, "share of the images is nan"),
        ({"jpeg_quality": 101}, "JPEG quality is 101"),
        ({"scale": 1.5}, "scale of height and width is 1.5"),
    ],
)
def test_shrinking_refuses_wrong_numbers(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shrinking(**options)


def test_label_maps_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "seg/images/0.png")
    Image.new("L", (10, 8)).save(tmp_path / "seg/images/1.png")
    (tmp_path / "seg/annotations").mkdir()
    for number in range(2):
        Image.new("L", (10, 8)).save(tmp_path / f"seg/annotations/{number}.png")
    with pytest.raises(ValueError, match="has label maps"):
        run(tmp_path / "seg", tmp_path / "out", JPEG5)
