"""Images in arrays: idx files, numpy's files, CIFAR's binary version; what they give, and what they refuse."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from helpers.mmpretrain_data import idx_bytes, mnist_files
from seitpp.ingest import Processes, TokenizeJob, make_plan, open_image_source, tokenize
from seitpp.ingest.sources import ImageSource, array_splits
from seitpp.ingest.sources.array_files import parse_idx
from seitpp.storage import StoreReader


def pixels(source: ImageSource, index: int, channels: int = 3) -> np.ndarray:
    return np.asarray(source.load(index, channels)[0])


def images_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# idx files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_folder_of_idx_files(tmp_path: Path, packed: bool, split: str) -> None:
    expected = mnist_files(tmp_path, packed=packed)["train" if split == "train" else "t10k"]
    source = open_image_source(tmp_path, split=split)
    assert source.kind == "arrays" and source.label_kind == "class" and source.classes is None
    np.testing.assert_array_equal(source.labels, [5, 6, 7])
    assert source.names[1].startswith("train" if split == "train" else "t10k") and source.names[1].endswith("/1")
    np.testing.assert_array_equal(pixels(source, 1, channels=1), expected[1])
    assert source.load(1, 1)[1] == 256


def test_layout_of_torchvision_with_packed_and_unpacked_files(tmp_path: Path) -> None:
    mnist_files(tmp_path / "raw", packed=True)
    mnist_files(tmp_path / "raw")
    assert open_image_source(tmp_path, split="train").names[0] == "train-images-idx3-ubyte/0"


def test_file_of_images_finds_its_labels(tmp_path: Path) -> None:
    for name in ("emnist-letters-train-{}-ubyte.gz", "train-{}.ubyte".replace(".", ".idx3-"), "a-images.idx3-ubyte"):
        labels = name.replace("images", "labels").replace("idx3", "idx1").format("labels-idx1")
        images = tmp_path / name.format("images-idx3")
        for path, array in ((images, images_of(2, 4, 4)), (tmp_path / labels, np.array([1, 2], np.uint8))):
            content = idx_bytes(array)
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        source = open_image_source(images)
        np.testing.assert_array_equal(source.labels, [1, 2])
        assert any("rows and columns of its images swapped" in line for line in source.warnings()) == ("emnist" in name)


def test_colour_idx_files(tmp_path: Path) -> None:
    for number, shape in enumerate([(2, 4, 5, 3), (2, 3, 4, 5)]):
        path, array = tmp_path / f"{number}-images-idx4-ubyte", images_of(*shape)
        path.write_bytes(idx_bytes(array))
        expected = array if shape[3] == 3 else array.transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(pixels(open_image_source(path, unlabelled=True), 1), expected[1])


def test_class_names_of_idx_files(tmp_path: Path) -> None:
    mnist_files(tmp_path)
    (tmp_path / "names").write_text("\n".join("abcdefgh"))
    assert open_image_source(tmp_path, split="train", classes_file=str(tmp_path / "names")).classes == list("abcdefgh")
    (tmp_path / "names").write_text("a\nb")
    with pytest.raises(ValueError, match="the label of image 0 is 5, expected a class index from 0 to 1"):
        open_image_source(tmp_path, split="train", classes_file=str(tmp_path / "names"))


def test_which_of_several_idx_files(tmp_path: Path) -> None:
    mnist_files(tmp_path)
    with pytest.raises(ValueError, match="there are several; name one of them itself, or give --split train or test"):
        open_image_source(tmp_path)
    with pytest.raises(ValueError, match="0 of them are of the split 'extra'"):
        open_image_source(tmp_path, split="extra")


def test_missing_labels(tmp_path: Path) -> None:
    mnist_files(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file of its labels, .*train-labels-idx1-ubyte; put it there pass"):
        open_image_source(tmp_path, split="train")
    source = open_image_source(tmp_path, split="train", unlabelled=True)
    assert source.labels is None and len(source) == 3


def test_another_number_of_labels(tmp_path: Path) -> None:
    mnist_files(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(ValueError, match="there are 3 images and 2 labels"):
        open_image_source(tmp_path, split="train")


def header(*shape: int, code: int = 8, zeros: int = 0) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", zeros, code, len(shape), *shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "unpack"),
        (b"P5 28 28 255", "it starts with 50 35 20 32, expected 00 00"),
        (header(1, 2, 2, zeros=1) + bytes(4), "it starts with 00 01"),
        (header(1, 2, 2, code=10) + bytes(4), "it starts with 00 00 0a"),
        (header() + bytes(4), "it starts with 00 00 08 00"),
        (header(2, 2)[:7], "unpack"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1), r"it declares [0-9,]+ bytes .*, more than it can hold"),
        (header(1, 2, 2) + bytes(3), "it declares 20 bytes .*, more than it can hold"),
        (header(1, 2, 2) + bytes(5), "it declares 20 bytes .*, and has 21"),
        (gzip.compress(header(2**31, 28, 28)), r"it declares [0-9,]+ bytes .*, more than it can hold"),
        (gzip.compress(header(1, 2, 2) + bytes(10_000_000)), "it unpacks to more than 20 bytes"),
        (gzip.compress(header(1, 2, 2) + bytes(4))[:-9], "it ends early|incomplete"),
        (b"\x1f\x8b" + bytes(30), "unknown compression method"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # packed bytes hold the time
)
def test_damaged_idx_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"a-file is damaged or is not .*({message})"):
        parse_idx(content, "a-file")


def test_integers_of_idx_labels_of_any_type() -> None:
    for code, dtype in {9: "i1", 11: ">i2", 12: ">i4"}.items():
        found = parse_idx(header(3, code=code) + np.array([1, -2, 3], dtype).tobytes(), "labels")
        np.testing.assert_array_equal(found, [1, -2, 3])
        assert found.dtype.isnative


def test_splits_are_told(tmp_path: Path, class_folder: Callable) -> None:
    mnist_files(tmp_path / "mnist" / "raw", packed=True)
    cifar(tmp_path / "cifar", hundred=True)
    save(tmp_path / "a.npz", x_train=images_of(1, 4, 4), x_test=images_of(1, 4, 4))
    class_folder(tmp_path / "train", per_class=1)
    found = [array_splits(str(tmp_path / name)) for name in ("mnist", "cifar", "a.npz", "train")]
    assert found == [["train", "test"], ["train", "test"], ["train", "test"], []]


# numpy's files


def save(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_npz_of_one_set(tmp_path: Path) -> None:
    images = images_of(3, 4, 5, 3)
    path = save(tmp_path / "a.npz", images=images, labels=np.array([2, 0, 1]), classes=np.array(["x", "y", "z"]))
    source = open_image_source(path)
    assert source.classes == ["x", "y", "z"] and source.labels.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(pixels(source, 2), images[2])


@pytest.mark.parametrize("form", ["{split}_{what}", "{what}_{split}"])
def test_npz_with_splits(tmp_path: Path, form: str) -> None:
    arrays = {}
    for split, count in {"train": 3, "val": 2}.items():
        arrays[form.format(split=split, what="images")] = images_of(count, 4, 4)
        arrays[form.format(split=split, what="labels")] = np.arange(count)[:, None]  # as MedMNIST has them
    path = save(tmp_path / "pathmnist.npz", **arrays)
    assert open_image_source(path, split="val").labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="where they are of several splits, name one with --split"):
        open_image_source(path)
    with pytest.raises(ValueError, match="none is called test_images, x_test or the like; choose another --split"):
        open_image_source(path, split="test")


def test_arrays_in_files_beside_one_another(tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", images_of(2, 4, 4))
    np.save(tmp_path / "train_labels.npy", np.array(["cat", "ant"]))
    source = open_image_source(tmp_path / "train_images.npy")
    assert source.classes == ["ant", "cat"] and source.labels.tolist() == [1, 0]
    save(tmp_path / "k49-train-imgs.npz", arr_0=images_of(2, 4, 4))
    save(tmp_path / "k49-train-labels.npz", arr_0=np.array([3, 1]))
    assert open_image_source(tmp_path / "k49-train-imgs.npz").labels.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 12), np.uint8), [0, 1], r"images have the shape \(2, 12\), expected \(N, H, W\)"),
        (np.zeros((2, 5, 5, 5), np.uint8), [0, 1], r"images have the shape \(2, 5, 5, 5\)"),
        (np.zeros((0, 4, 4), np.uint8), [], "holds no images"),
        (np.zeros((2, 4, 4), np.float32), [0, 1], "images are float32, expected uint8 from 0 to 255"),
        (np.zeros((2, 4, 4, 3), np.int64), [0, 1], "images are int64"),
        (np.zeros((2, 4, 4), np.uint8), [[0, 1], [1, 1]], r"labels have the shape \(2, 2\), expected one class per"),
        (np.zeros((2, 4, 4), np.uint8), [0.5, 1], "labels are float64, expected whole numbers or names"),
        (np.zeros((2, 4, 4), np.uint8), [np.nan, 1], "labels are float64, expected whole numbers or names"),
        (np.zeros((2, 4, 4), np.uint8), [-1, 1], "the label of image 0 is -1, expected a class index from 0"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1, 2], "there are 2 images and 3 labels"),
    ],
)
def test_arrays_that_are_no_images_or_classes(tmp_path: Path, images: np.ndarray, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_image_source(save(tmp_path / "a.npz", images=images, labels=np.array(labels)))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    for name, array in (("a.npz", None), ("images.npy", np.array([{"a": 1}], dtype=object))):
        if array is None:
            save(tmp_path / name, images=np.array([{"a": 1}], dtype=object))
        else:
            np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match=r"it holds dtype\('O'\), expected integers, floats"):
            open_image_source(tmp_path / name, unlabelled=True)


def test_npz_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=np.zeros((10, 64, 64), np.uint8))
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")  # the size in the list of members
    forged = content[: at + 24] + struct.pack("<I", 2**32 - 2) + content[at + 28 :]
    path.write_bytes(forged)
    with pytest.raises(ValueError, match=r"images.npy' declares 4,294,967,294 bytes, more than it can hold"):
        open_image_source(path, unlabelled=True)
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"damaged or is not a \.npz file"):
        open_image_source(path, unlabelled=True)


def test_grey_of_sixteen_bits_and_masks_become_eight_bits(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", images=np.full((1, 4, 4), 65535, np.uint16))
    assert pixels(open_image_source(tmp_path / "a.npz", unlabelled=True), 0).max() == 255
    save(tmp_path / "b.npz", images=np.ones((1, 4, 4, 1), bool))
    assert pixels(open_image_source(tmp_path / "b.npz", unlabelled=True), 0).tolist() == [[[255] * 3] * 4] * 4


def test_arrays_behind_a_url(memory: fsspec.AbstractFileSystem) -> None:
    file = io.BytesIO()
    np.savez(file, images=images_of(2, 4, 4), labels=np.array([0, 1]))
    memory.pipe("/data/a.npz", file.getvalue())
    memory.pipe("/data/train-images-idx3-ubyte", idx_bytes(images_of(2, 4, 4)))
    memory.pipe("/data/train-labels-idx1-ubyte", idx_bytes(np.array([3, 4], np.uint8)))
    assert open_image_source("memory://data/a.npz").labels.tolist() == [0, 1]
    assert open_image_source("memory://data").labels.tolist() == [3, 4]


# CIFAR


def cifar(folder: Path, hundred: bool) -> np.ndarray:
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 10, (4, 3074 if hundred else 3073), np.uint8)
    parts = {"train.bin": rows[:3], "test.bin": rows[3:]}
    if not hundred:
        parts = {"data_batch_1.bin": rows[:2], "data_batch_2.bin": rows[2:3], "test_batch.bin": rows[3:]}
    for name, part in parts.items():
        (folder / name).write_bytes(part.tobytes())
    listed = "fine_label_names.txt" if hundred else "batches.meta.txt"
    (folder / listed).write_text("".join(f"class {number}\n" for number in range(10)) + "\n")
    return rows


@pytest.mark.parametrize("hundred", [False, True])
def test_binary_version_of_cifar(tmp_path: Path, hundred: bool) -> None:
    rows = cifar(tmp_path / "cifar", hundred)
    source = open_image_source(tmp_path / "cifar", split="train")
    labels = rows[:3, 1 if hundred else 0]
    assert source.labels.tolist() == labels.tolist() and source.classes[3] == "class 3"
    planes = rows[2, -3072:].reshape(3, 32, 32)
    np.testing.assert_array_equal(pixels(source, 2), planes.transpose(1, 2, 0))
    assert len(open_image_source(tmp_path / "cifar", split="val")) == 1
    with pytest.raises(ValueError, match="holds CIFAR with the splits train and test; name one with --split"):
        open_image_source(tmp_path / "cifar")
    (tmp_path / "cifar" / ("test.bin" if hundred else "test_batch.bin")).write_bytes(b"0" * 3000)
    with pytest.raises(ValueError, match=r"has 3,000 bytes, expected a multiple of 307[34]"):
        open_image_source(tmp_path / "cifar", split="test")


def test_pickled_version_of_cifar_is_refused(tmp_path: Path) -> None:
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (tmp_path / name).write_bytes(b"\x80\x02}")
    with pytest.raises(
        ValueError, match=r"holds CIFAR as pickled files, which can run code .* take the binary version"
    ):
        open_image_source(tmp_path, split="train")


# Tokenising


def test_killed_run_goes_on_to_the_same_store(
    tmp_path: Path, make_job: Callable[..., TokenizeJob], run_job: Callable, put_aside: Callable, files_of: Callable
) -> None:
    mnist_files(tmp_path / "mnist", count=10)
    job = make_job(tmp_path / "mnist", tmp_path / "once", split="train")
    run_job(job)
    killed = make_job(tmp_path / "mnist", tmp_path / "twice", split="train", samples_per_shard=8, save_seconds=0)
    assert put_aside(killed)
    run_job(killed)
    run_job(make_job(tmp_path / "mnist", tmp_path / "straight", split="train", samples_per_shard=8))
    assert files_of(tmp_path / "twice") == files_of(tmp_path / "straight")
    store = StoreReader(tmp_path / "twice")
    assert store.labels.tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(store.read(range(10)), StoreReader(tmp_path / "once").read(range(10)))
    assert store.header["source"]["kind"] == "arrays"


def test_image_of_too_many_pixels_is_left_out(tmp_path: Path, make_job: Callable) -> None:
    path = save(tmp_path / "a.npz", images=images_of(1, 40, 40))
    job = make_job(path, tmp_path / "out")
    job.source.update(unlabelled=True, max_pixels=100)
    plan = make_plan(job, Processes())
    with pytest.raises(ValueError, match="it has 1,600 pixels, over 100"):
        tokenize(plan, Processes(), lambda done, total: None, print)


def test_archive_without_the_wanted_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", "x")
        archive.writestr("more.txt", "x")
    with pytest.raises(ValueError, match=r"holds the arrays notes\.txt, more\.txt, and none is called images, x"):
        open_image_source(tmp_path / "a.npz")
