"""Bytes that training data take, against the sizes of the files that were written."""

import json
import re
from pathlib import Path

import pytest

from helpers.work_folder import tokens_in
from seitpp.benchmarking.synthetic import make_images, make_store
from seitpp.engine.work_folders.data_bytes import DataPlaces, start_folder
from seitpp.storage import StoreReader, write_release

WORK = Path("work")


def measure(dataset, **options):
    return DataPlaces(**options).measure({"train_dataloader": {"dataset": dataset}}, WORK)


def size_of(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def test_store_counts_every_file_and_the_codes_alone(tmp_path):
    found = measure(tokens_in(tmp_path))
    assert (found.num_bytes, found.num_images) == (size_of(tmp_path / "train"), 10)
    assert found.num_code_bytes == 10 * 16 * 4 // 8  # 4 bits per code
    assert found.image_bytes == 8 + 1 + 4 and not found.is_computed and not found.is_pixels


@pytest.mark.parametrize("codec", ["bitpacked", "zstd"])
@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"subset": {"fraction": 0.2, "seed": 1}}, 2),
        ({"subset": {"count": 7}}, 7),
        ({"indices": 3}, 3),
        ({"indices": [0, -1, 9]}, 2),
    ],
)
def test_part_of_a_store_costs_its_share_and_what_all_need(tmp_path, codec, options, images):
    make_store(tmp_path / "train", 10, grid=(4, 4), codebook_size=16, codec=codec)
    whole, part = measure(tokens_in(tmp_path)), measure(tokens_in(tmp_path, **options))
    assert part.is_computed and part.num_images == images
    assert part.num_bytes == whole.fixed_bytes + round(images * (whole.num_bytes - whole.fixed_bytes) / 10)
    sizes = StoreReader(tmp_path / "train").section_bytes
    assert whole.fixed_bytes == sizes["other"] + sizes["tables"] > 16 * 32 * 4  # the codebook


def test_release_counts_codes_index_and_labels(tmp_path):
    store = make_store(tmp_path / "store", 10, grid=(4, 4), codebook_size=16)
    write_release(StoreReader(store), tmp_path / "out" / "small")
    data = next((tmp_path / "out").glob("*.data.bin.gz"))
    options = {"data_root": str(data.parent), "store": data.name, "grid": [4, 4], "codebook_size": 16}
    found = measure({"type": "seitpp.TokenDataset", **options})
    files = [path for path in data.parent.iterdir() if path.name.endswith((".gz", ".txt"))]
    assert found.num_bytes == sum(path.stat().st_size for path in files)
    assert (found.num_code_bytes, found.num_images) == (data.stat().st_size, 10)


def test_store_of_another_version_is_refused(tmp_path):
    dataset = tokens_in(tmp_path)
    header = tmp_path / "train" / "header.json"
    header.write_text(re.sub('"version": [0-9]', '"version": 9', header.read_text()))
    with pytest.raises(ValueError, match=r"header.json: version is 9, this release of seitpp reads versions"):
        measure(dataset)


def test_wrappers_and_joined_sets(tmp_path):
    one, other = tokens_in(tmp_path / "a"), tokens_in(tmp_path / "b", 5)
    sizes = size_of(tmp_path / "a"), size_of(tmp_path / "b")
    joined = {"type": "ConcatDataset", "datasets": [one, other, one]}
    assert (measure(joined).num_bytes, measure(joined).num_images) == (sum(sizes), 15)
    assert measure({"type": "RepeatDataset", "times": 3, "dataset": one}).num_bytes == sizes[0]
    half = measure({"type": "seitpp.SubsetDataset", "dataset": one, "fraction": 0.5, "keep_length": True})
    assert (half.num_images, half.is_computed) == (5, True)


def test_image_folders_of_both_kinds_of_data_set(tmp_path):
    make_images(tmp_path / "train" / "a", 3, 8)
    make_images(tmp_path / "train" / "b", 2, 8, seed=1)
    total = size_of(tmp_path)
    (tmp_path / "train" / "notes.txt").write_text("no image")
    (tmp_path / "list.txt").write_text("a/0000.png 0\nb/0001.png 1\n")
    root = str(tmp_path)
    for dataset in (
        {"type": "seitpp.PixelDataset", "data_root": root, "source": "train"},
        {"type": "seitpp.PixelDataset", "source": root, "split": "train"},
        {"type": "mmpretrain.CustomDataset", "data_root": root, "data_prefix": {"img_path": "train"}},
        {"type": "ImageNet", "data_root": root, "split": "train"},
    ):
        found = measure(dataset)
        assert (found.num_bytes, found.num_images, found.is_pixels, found.code_bytes) == (total, 5, True, None)
    listed = {"type": "CustomDataset", "data_root": root, "data_prefix": "train", "ann_file": "list.txt"}
    expected = sum((tmp_path / "train" / name).stat().st_size for name in ("a/0000.png", "b/0001.png"))
    assert (measure(listed).num_bytes, measure(listed).num_images) == (expected, 2)
    own = {"type": "seitpp.PixelDataset", "source": f"{root}/list.txt", "root": f"{root}/train"}
    assert measure(own).num_bytes == expected


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ({"fraction": 0.39, "seed": 0}, "random 39 %"),
        ({"count": 4000}, "random 4,000"),
        ({"jpeg_quality": 5, "subsampling": "4:2:0"}, "JPEG quality 5"),
        ({"scale": 0.2, "jpeg_quality": 75}, "resolution x 0.2"),
        ({"scale": 0.2, "jpeg_quality": 5}, "resolution x 0.2, JPEG quality 5"),
        ({"fraction": "{0}"}, ""),
    ],
)
def test_shrunken_images_say_what_was_done_to_them(tmp_path, done, words):
    make_images(tmp_path / "a", 1, 8)
    (tmp_path / "shrink.json").write_text(json.dumps({"shrinking": done}))
    found = measure({"type": "PixelDataset", "source": str(tmp_path)})
    assert (found.made, found.num_images) == (words, 1)


def test_moved_and_relative_paths_are_found(tmp_path, monkeypatch):
    dataset = tokens_in(tmp_path / "here" / "data")
    total = size_of(tmp_path / "here")
    moved = {**dataset, "data_root": "/old/data"}
    assert measure(moved, moved={"/old": str(tmp_path / "here")}).num_bytes == total
    with pytest.raises(FileNotFoundError, match=r"/older/data/train does not exist; .* --moved OLD=NEW"):
        measure({**dataset, "data_root": "/older/data"}, moved={"/old": str(tmp_path / "here")})
    relative = {"train_dataloader": {"dataset": {**dataset, "data_root": "data"}}, "work_dir": "./runs/seit"}
    assert DataPlaces().measure(relative, tmp_path / "here" / "runs" / "seit").num_bytes == total
    assert DataPlaces(tmp_path / "here").measure(relative, WORK).num_bytes == total
    assert start_folder(tmp_path / "runs" / "seit", "../seit") == Path()
    monkeypatch.chdir(tmp_path / "here")
    assert DataPlaces().measure(relative, WORK).num_bytes == total


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"type": "mmpretrain.CIFAR10", "data_root": "x"}, "bytes of a CIFAR10 are not counted"),
        ({"type": "seitpp.TokenDataset", "store": 5}, "store of its training data is 5, expected text"),
        ({"type": "seitpp.TokenDataset", "store": "s3://a/b"}, "is a URL"),
        ({"type": "ConcatDataset", "datasets": "x"}, "datasets of its ConcatDataset is 'x'"),
        ({"type": "seitpp.PixelDataset", "source": "none"}, "none do not exist"),
        (None, "names no training data"),
    ],
)
def test_data_that_cannot_be_measured_are_refused(dataset, message):
    with pytest.raises((ValueError, OSError), match=message):
        measure(dataset)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": {"fraction": "all"}}, "the subset of its training data is damaged"),
        ({"subset": {"fraction": 2.0}}, "must be between 1 and all"),
        ({"indices": "all"}, "indices of its training data are 'all'"),
    ],
)
def test_parts_that_cannot_be_measured_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        measure(tokens_in(tmp_path, **options))


def test_config_that_would_have_to_be_run_is_not(tmp_path):
    (tmp_path / "images.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(ValueError, match="is a config, which would have to be run"):
        measure({"type": "seitpp.PixelDataset", "source": str(tmp_path / "images.py")})
