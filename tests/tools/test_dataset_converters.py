"""`tools/dataset_converters/`: from the layout of a download to a store with the right labels."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from seitpp.benchmarking.synthetic import make_store
from seitpp.io.command_line import run_tool
from seitpp.storage import StoreReader, write_release

DCT = ("tokenizer.image_size=16", "tokenizer.luma_coefficients=2", "tokenizer.chroma_coefficients=1")


@pytest.fixture(scope="module")
def converter(repository: Path) -> Callable[..., int]:
    """Runs `tools/dataset_converters/NAME.py` in this process."""

    def run(name: str, *args: object) -> int:
        main = runpy.run_path(str(repository / "tools" / "dataset_converters" / f"{name}.py"))["main"]
        return run_tool(lambda: main([str(arg) for arg in args]))

    return run


@pytest.fixture
def tokenize(repository: Path, tool: Callable[..., int], tmp_path: Path) -> Callable[..., StoreReader]:
    """Makes a store of a list with the classes beside it, as DCT coefficients of small images."""

    def run(path: Path, *args: object) -> StoreReader:
        config, out = repository / "configs" / "tokenizers" / "block_dct_q50.py", tmp_path / f"{path.stem}-store"
        line = [config, path, out, "--classes", path.with_name("classes.txt"), *args]
        assert tool("tokenize_images.py", *line, "--workers", "0", "--cfg-options", *DCT) == 0
        return StoreReader(out)

    return run


def paint(root: Path, names: list[str]) -> list[int]:
    """Writes plain images, each in its grey value; returns the values."""
    values = [20 + 20 * number for number in range(len(names))]
    for name, value in zip(names, values, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(root / name, "PNG")
    return values


def greys(store: StoreReader) -> list[int]:
    """Ranks of the samples' grey values, so that the images can be told apart by their tokens."""
    return np.argsort(np.argsort(store.read_all()[:, 0, 0, 0])).tolist()


def test_flowers(converter: Callable, tokenize: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "flowers102"
    paint(root, [f"jpg/image_{number:05d}.jpg" for number in range(1, 10)])
    savemat(root / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 2, 2, 9, 9, 9, 9]])})
    savemat(root / "setid.mat", {"trnid": [[2, 6]], "valid": [[1, 7]], "tstid": [[5, 3, 4, 8, 9]]})
    assert converter("flowers102", root) == 0
    printed = capsys.readouterr()
    assert f"{root}/train.csv: 4 images" in printed.out and "classes.txt: 102 classes, hash " in printed.out
    assert f"{root}/train.csv OUT_STORE --classes {root}/classes.txt\n" in printed.out
    assert printed.err == (
        "warning: train images: 4, published are 2,040\nwarning: test images: 5, published are 6,149\n"
    )
    train, test = tokenize(root / "train.csv"), tokenize(root / "test.csv")
    assert [train.classes[label] for label in train.labels[::2]] == ["pink primrose", "passion flower"]
    assert test.labels.tolist() == [1, 101, 1, 8, 8] and train.classes == test.classes
    assert greys(train) == [1, 2, 0, 3] and greys(test) == [2, 0, 1, 3, 4]


def test_cars(converter: Callable, tokenize: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "cars"
    paint(root, [f"cars_{split}/0000{number}.jpg" for split in ("train", "test") for number in (1, 2)])
    (root / "devkit").mkdir()
    kinds = [("class", object), ("fname", object)]
    for path, rows in (
        ("devkit/cars_train_annos.mat", [(2, "00002.jpg"), (1, "00001.jpg")]),
        ("devkit/cars_test_annos_withlabels.mat", [(2, "00001.jpg"), (87, "00002.jpg")]),
    ):
        savemat(root / path, {"annotations": np.array([rows], kinds)})
    assert converter("stanford_cars", root, "--out", tmp_path / "lists") == 0
    printed = capsys.readouterr()
    assert "test images: 2, published are 8,041" in printed.err and f" --root {root}\n" in printed.out
    train = tokenize(tmp_path / "lists" / "train.csv", "--root", root)
    assert (
        train.classes[:2] == ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
        and train.labels.tolist() == [1, 0]
        and greys(train) == [1, 0]
    )
    assert tokenize(tmp_path / "lists" / "test.csv", "--root", root).labels.tolist() == [1, 86]


def write_inaturalist(root: Path) -> None:
    """Three categories with the obfuscated names 12, 3 and 7, first annotated in the order 7, 12, 3."""
    for split, categories in (("train", [2, 0, 1]), ("val", [1, 2])):
        files = [f"train_val2019/Fungi/{category}/{split}.jpg" for category in categories]
        paint(root, files)
        content = {
            "images": [{"id": number, "file_name": file} for number, file in enumerate(files)],
            "annotations": [{"image_id": number, "category_id": label} for number, label in enumerate(categories)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(["12", "3", "7"])],
        }
        (root / f"{split}2019.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("order", "classes"), [("id", ["12", "3", "7"]), ("first", ["7", "12", "3"])])
def test_inaturalist(
    converter: Callable,
    tokenize: Callable,
    tmp_path: Path,
    order: str,
    classes: list[str],
    capsys: pytest.CaptureFixture,
) -> None:
    write_inaturalist(tmp_path / "inat")
    assert converter("inaturalist", tmp_path / "inat", 2019, "--order", order) == 0
    printed = capsys.readouterr()
    assert f"order of the classes: {order}\n" in printed.out
    assert "val images: 2, published are 3,030" in printed.err and "classes: 3, published are 1,010" in printed.err
    store = tokenize(tmp_path / "inat" / "val.csv")
    assert store.classes == classes and [classes[label] for label in store.labels] == ["3", "7"]


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("flowers102", (), "imagelabels.mat does not exist"),
        ("stanford_cars", (), "cars_train_annos.mat does not exist"),
        ("inaturalist", (2018,), "train2018.json does not exist"),
    ],
)
def test_errors_are_lines(
    converter: Callable, tmp_path: Path, name: str, args: tuple, message: str, capsys: pytest.CaptureFixture
) -> None:
    assert converter(name, tmp_path, *args) == 1
    assert "error: " in (err := capsys.readouterr().err) and message in err


def write_list(path: Path, *names: str) -> Path:
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def test_classes_of_a_store(converter: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole = StoreReader(make_store(tmp_path / "whole", num_samples=10, grid=(4, 4), num_classes=5))
    chosen = write_list(tmp_path / "list.txt", "class-3", "class-0")
    assert converter("select_classes", whole.path, tmp_path / "some", "--classes-list", chosen, "--codec", "raw") == 0
    store, out = StoreReader(tmp_path / "some"), capsys.readouterr().out
    assert store.classes == ["class-0", "class-3"] and store.header["codec"]["name"] == "raw"
    places = np.flatnonzero(np.isin(whole.labels, [0, 3]))
    np.testing.assert_array_equal(store.read_all(), whole.read(places))
    np.testing.assert_array_equal(store.labels, whole.labels[places] // 3)
    assert f"some: 4 samples, 2 classes, hash {store.header['source']['classes_hash']}, " in out
    assert store.content_hash in out
    arguments = ["select_classes", whole.path, tmp_path / "some", "--classes-list", chosen]
    assert converter(*arguments) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert converter(*arguments, "--codec", "raw", "--resume") == 0


def test_classes_of_an_imported_release(
    converter: Callable, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tokens = np.random.default_rng(0).integers(0, 391, (6, 4, 4))
    data = write_release(tokens, tmp_path / "r", labels=np.array([0, 1, 2, 2, 1, 0]))[0].path
    images = tmp_path / "images"
    paint(images, ["n03/1.jpg", "n01/1.jpg", "n02/1.jpg"])
    convert = runpy.run_path(str(repository / "tools" / "convert_store.py"))["main"]
    line = [str(data), str(tmp_path / "bare"), "--codebook-size", "391", "--grid", "4", "4"]
    assert not convert(line)
    chosen = write_list(tmp_path / "list.txt", "n03", "n01")
    arguments = ["select_classes", tmp_path / "bare", tmp_path / "some", "--classes-list", chosen]
    assert converter(*arguments) == 1
    assert "bare carries no class names" in capsys.readouterr().err
    assert converter(*arguments, "--classes-file", images) == 0
    store = StoreReader(tmp_path / "some")
    np.testing.assert_array_equal(store.read_all(), tokens[[0, 2, 3, 5]])
    assert store.labels.tolist() == [0, 1, 1, 0] and store.classes == ["n01", "n03"]


def test_classes_of_an_image_folder(
    converter: Callable, tokenize: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "imagenet" / "train"
    paint(root, ["n03/b.png", "n01/a.png", "n02/a.png", "n03/a.png"])
    chosen = write_list(tmp_path / "list.txt", "n03", "n01")
    path = tmp_path / "in100" / "train.csv"
    assert converter("select_classes", root, path, "--classes-list", chosen) == 0
    out = capsys.readouterr().out
    assert f"{path}: 3 images" in out and "2 classes, hash " in out and f" --root {root}\n" in out
    store = tokenize(path, "--root", root)
    assert store.classes == ["n01", "n03"] and store.labels.tolist() == [0, 1, 1] and greys(store) == [1, 2, 0]
    write_list(chosen, "n09")
    assert converter("select_classes", root, path, "--classes-list", chosen) == 1
    assert "has no folder for 1 of the 1 classes, such as 'n09'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a-token.data.bin.gz", "out"), "make a store of it first, with tools/convert_store.py"),
        (("nowhere", "out.csv"), "is no folder; expected a token store, or an image folder"),
        ((".", "out"), "is no token store; from images comes a list, name OUT like train.csv"),
        ((".", "out.csv", "--resume"), "--classes-file, --codec and --resume are for stores"),
    ],
)
def test_contradicting_options_are_refused(
    converter: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple,
    message: str,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        converter("select_classes", *arguments, "--classes-list", "list.txt")
    assert message in capsys.readouterr().err
