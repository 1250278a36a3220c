"""tools/dataset_converters/torchvision_sets.py: each set from torchvision's layout, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import mat4py
import numpy as np
import pytest
import torchvision
from PIL import Image

from helpers.mmpretrain_data import lines, mnist_files, pictures
from helpers.tools import tool_main
from seitpp.ingest.sources import open_image_source

CONVERT = tool_main("dataset_converters/torchvision_sets.py")


def mnist(root: Path, name: str, packed: bool = False) -> dict[str, np.ndarray]:
    """Write the files of MNIST or FashionMNIST: 3 images a split, of the classes 5, 6 and 7."""
    return mnist_files(root / name / "raw", packed=packed)


def cifar(root: Path, hundred: bool) -> None:
    """Write CIFAR's binary version: image n of a file has the class n and n in all of red, 100 + n in blue."""
    folder = root / ("cifar-100-binary" if hundred else "cifar-10-batches-bin")
    folder.mkdir(parents=True)
    names = ["train", "test"] if hundred else [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name in names:
        planes = [bytes([number]) * 1024 + bytes(1024) + bytes([100 + number]) * 1024 for number in range(2)]
        labels = [bytes([9, number]) if hundred else bytes([number]) for number in range(2)]
        (folder / f"{name}.bin").write_bytes(b"".join(a + b for a, b in zip(labels, planes, strict=True)))
    lines(folder / ("fine_label_names.txt" if hundred else "batches.meta.txt"), "airplane", "automobile")


def flowers(root: Path) -> None:
    folder = root / "flowers-102"
    pictures(folder / "jpg", *(f"image_{number:05d}.jpg" for number in range(1, 6)))
    mat4py.savemat(str(folder / "imagelabels.mat"), {"labels": [12, 77, 12, 77, 12]})
    mat4py.savemat(str(folder / "setid.mat"), {"trnid": [1, 1], "valid": [2, 2], "tstid": [3, 4, 5]})


def pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    entries = {"trainval": ["saint_bernard_1 2 2 1", "Abyssinian_7 1 1 1"], "test": ["saint_bernard_3 2 2 1"]}
    for split, rows in entries.items():
        lines(folder / "annotations" / f"{split}.txt", *rows)
        for row in rows:
            pictures(folder / "images", f"{row.split()[0]}.jpg")
            trimap = Image.fromarray(np.full((16, 16), len(row) % 3 + 1, np.uint8))
            (folder / "annotations" / "trimaps").mkdir(exist_ok=True)
            trimap.save(folder / "annotations" / "trimaps" / f"{row.split()[0]}.png")


def food(root: Path) -> None:
    for split, names in {"train": ["waffles/1", "apple_pie/2"], "test": ["waffles/3"]}.items():
        pictures(root / "food-101" / "images", *(f"{name}.jpg" for name in names))
        listed = {name: [one for one in names if one.startswith(name)] for name in ("waffles", "apple_pie")}
        lines(root / "food-101" / "meta" / f"{split}.json", json.dumps(listed))


def eurosat(root: Path) -> None:
    names = [f"River/River_{number}.jpg" for number in (1, 2, 9, 10, 11)] + ["Forest/Forest_1.jpg"]
    pictures(root / "eurosat" / "2750", *names)


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_become_pictures_in_torchvisions_classes(tmp_path: Path, packed: bool) -> None:
    images = mnist(tmp_path, "FashionMNIST", packed)
    assert CONVERT(["FashionMNIST", tmp_path / "out", "--root", tmp_path]) == 0
    names = ("Sandal/00000.png", "Shirt/00001.png", "Sneaker/00002.png")
    assert names_in(tmp_path / "out") == [
        "classes.txt",
        *(f"{split}/{name}" for split in ("test", "train") for name in names),
    ]
    with Image.open(tmp_path / "out" / "test" / "Shirt" / "00001.png") as picture:
        assert np.array_equal(np.asarray(picture), images["t10k"][1])
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines()[0] == "T-shirt_top"


def test_folders_are_read_with_torchvisions_labels(tmp_path: Path) -> None:
    mnist(tmp_path, "FashionMNIST")
    CONVERT(["FashionMNIST", tmp_path / "out", "--root", tmp_path])
    source = open_image_source(str(tmp_path / "out"), split="train", classes_file=str(tmp_path / "out" / "classes.txt"))
    assert source.labels.tolist() == [5, 6, 7] and source.classes[9] == "Ankle_boot"


def test_one_file_of_arrays(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images = mnist(tmp_path, "MNIST")
    assert CONVERT(["MNIST", tmp_path / "out", "--root", tmp_path, "--format", "npz", "--splits", "test"]) == 0
    with np.load(tmp_path / "out" / "images.npz") as arrays:
        assert sorted(arrays) == ["classes", "test_images", "test_labels"]
        assert np.array_equal(arrays["test_images"], images["t10k"]) and arrays["test_labels"].tolist() == [5, 6, 7]
        assert arrays["classes"][3] == "3 - three"
    printed = capsys.readouterr()
    assert printed.err == "warning: test: 3 images, published are 10,000\n"
    assert f"TOKENIZER {tmp_path / 'out' / 'images.npz'} OUT_STORE --split test" in printed.out
    assert open_image_source(str(tmp_path / "out" / "images.npz"), split="test").labels.tolist() == [5, 6, 7]


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_is_read_in_its_binary_version(tmp_path: Path, hundred: bool) -> None:
    cifar(tmp_path, hundred)
    assert CONVERT([f"CIFAR10{'0' * hundred}", tmp_path / "out", "--root", tmp_path]) == 0
    expected = {"train": 1 if hundred else 5, "test": 1}
    assert {split: len(list((tmp_path / "out" / split / "automobile").iterdir())) for split in expected} == expected
    with Image.open(tmp_path / "out" / "train" / "automobile" / "00001.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (32, 32))
        assert np.asarray(picture)[31, 31].tolist() == [1, 0, 101]


@pytest.mark.parametrize("pickled", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_pickled_cifar_is_refused(tmp_path: Path, pickled: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / pickled).mkdir()
    assert CONVERT(["CIFAR10", tmp_path / "out", "--root", tmp_path]) == 1
    message = "holds CIFAR10 as pickled files, which can run code and are not opened; take the binary version"
    assert message in capsys.readouterr().err


FILES = {
    "Flowers102": (
        flowers,
        "flowers-102/jpg",
        {"train/colt_s_foot": "image_00001", "val/passion_flower": "image_00002", "test/passion_flower": "image_00004"},
    ),
    "OxfordIIITPet": (
        pets,
        "oxford-iiit-pet/images",
        {"trainval/Saint_Bernard": "saint_bernard_1", "test/Saint_Bernard": "saint_bernard_3"},
    ),
    "Food101": (food, "food-101/images", {"train/apple_pie": "2", "train/waffles": "1", "test/waffles": "3"}),
    "EuroSAT": (eurosat, "eurosat/2750", {"train/River": "River_10", "val/River": "River_11"}),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_copied_byte_for_byte(tmp_path: Path, name: str) -> None:
    write, raw, expected = FILES[name]
    write(tmp_path)
    assert CONVERT([name, tmp_path / "out", "--root", tmp_path]) == 0
    originals = {path.stem: path.read_bytes() for path in (tmp_path / raw).rglob("*.jpg")}
    for folder, stem in expected.items():
        assert (tmp_path / "out" / folder / f"{stem}.jpg").read_bytes() == originals[stem]
    written = [path.stem for path in (tmp_path / "out").rglob("*.jpg")]
    assert sorted(written) == sorted(originals)  # each once, none left out
    order = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    kind = getattr(torchvision.datasets, name)
    known = getattr(kind, "classes", None)  # of Flowers102 alone before a download is opened
    assert len(order) == len(known) if known else order == sorted(order, key=str.casefold)


def test_masks_become_label_maps_that_segmentation_reads(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pets(tmp_path)
    assert CONVERT(["OxfordIIITPet", tmp_path / "out", "--root", tmp_path, "--masks"]) == 0
    assert "--split trainval test --reduce-zero-label" in capsys.readouterr().out
    assert (tmp_path / "out" / "classes.txt").read_text().split() == ["pet", "background", "border"]
    source = open_image_source(str(tmp_path / "out"), split="trainval", reduce_zero_label=True)
    assert source.annotated and len(source) == 2
    trimaps = tmp_path / "oxford-iiit-pet" / "annotations" / "trimaps"
    assert {source.read_annotation(number) for number in (0, 1)} == {
        (trimaps / f"{name}.png").read_bytes() for name in ("Abyssinian_7", "saint_bernard_1")
    }


def missing_image(root: Path) -> None:
    (root / "oxford-iiit-pet" / "images" / "saint_bernard_3.jpg").unlink()


def missing_map(root: Path) -> None:
    (root / "oxford-iiit-pet" / "annotations" / "trimaps" / "saint_bernard_3.png").unlink()


def missing_list(root: Path) -> None:
    (root / "oxford-iiit-pet" / "annotations" / "test.txt").unlink()


def missing_set(root: Path) -> None:
    shutil.rmtree(root / "oxford-iiit-pet")


def other_text(root: Path) -> None:
    lines(root / "oxford-iiit-pet" / "annotations" / "test.txt", "../../secret_1 1 1 1")


def missing_class(root: Path) -> None:
    lines(root / "oxford-iiit-pet" / "annotations" / "test.txt", "pug_1 9 1 1")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (missing_image, r"image .*saint_bernard_3.jpg does not exist"),
        (missing_map, r"label map .*saint_bernard_3.png does not exist"),
        (missing_list, r"oxford-iiit-pet is no whole OxfordIIITPet: annotations/test.txt is missing"),
        (missing_set, r"oxford-iiit-pet does not exist; torchvision keeps OxfordIIITPet there: give --root"),
        (other_text, r"test.txt, line 1 is '../../secret_1 1 1 1', expected a name and three numbers"),
        (missing_class, r"classes are \[0, 1, 8\], expected all from 1 on"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture, harm: Callable[[Path], None], message: str
) -> None:
    pets(tmp_path)
    harm(tmp_path)
    before = names_in(tmp_path)
    assert CONVERT(["OxfordIIITPet", tmp_path / "out", "--root", tmp_path, "--masks"]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert names_in(tmp_path) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"pie": ["../../secret"]}', "is damaged or is not lists of CLASS/NUMBER by class"),
        ('{"pie": 3}', "is damaged or is not lists of CLASS/NUMBER by class"),
        ('{"pie": []}', "food-101 has no images for train"),
        ("[]", "holds a JSON list, expected an object"),
        ('{"cake": ["cake/1"]}', "test.json has other classes than the list of train"),
    ],
)
def test_wrong_lists_of_food_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, content: str, message: str
) -> None:
    for split in ("train", "test"):
        lines(tmp_path / "food-101" / "meta" / f"{split}.json", content)
    if "cake" in content:
        lines(tmp_path / "food-101" / "meta" / "train.json", '{"pie": ["pie/1"]}')
    assert CONVERT(["Food101", tmp_path / "out", "--root", tmp_path]) == 1
    assert message in capsys.readouterr().err


def test_labels_beyond_the_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cifar(tmp_path, hundred=True)
    lines(tmp_path / "cifar-100-binary" / "fine_label_names.txt", "apple")
    assert CONVERT(["CIFAR100", tmp_path / "out", "--root", tmp_path]) == 1
    assert "label" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    eurosat(tmp_path)
    (tmp_path / "out").mkdir()
    assert CONVERT(["EuroSAT", tmp_path / "out", "--root", tmp_path]) == 1
    assert "out exists; name a new folder, or remove it" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["EuroSAT", "--splits", "test"], "--splits test: EuroSAT has train, val"),
        (["EuroSAT", "--masks"], "--masks: EuroSAT has none"),
        (["STL10"], "invalid choice: 'STL10'"),
    ],
)
def test_options_that_a_set_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture, line: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        CONVERT([line[0], tmp_path / "out", *line[1:]])
    assert message in capsys.readouterr().err


def test_arrays_of_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    eurosat(tmp_path)
    assert CONVERT(["EuroSAT", tmp_path / "out", "--root", tmp_path, "--format", "npz"]) == 1
    assert "--format npz is for images that come in arrays" in capsys.readouterr().err


def test_torchvision_fetches_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And CIFAR in its binary version, which its class does not know and would unpickle the other."""
    asked = []

    def fetch(root: Path, download: bool) -> None:
        asked.append(download)
        eurosat(Path(root))

    def unpack(url: str, root: str, md5: str) -> None:
        asked.append((url.rpartition("/")[2], md5))
        cifar(Path(root), hundred="100" in url)

    monkeypatch.setattr(torchvision.datasets, "EuroSAT", fetch)
    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", unpack)
    for name in ("EuroSAT", "CIFAR10", "CIFAR100"):
        assert CONVERT([name, tmp_path / name, "--root", tmp_path / "raw", "--download"]) == 0
    assert CONVERT(["CIFAR10", tmp_path / "again", "--root", tmp_path / "raw", "--download"]) == 0
    assert asked == [
        True,
        ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
        ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    ]
