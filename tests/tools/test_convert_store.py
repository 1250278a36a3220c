"""`tools/convert_store.py`: import, export and copy from the command line."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.tools import tool_main
from seitpp.storage import StoreReader, write_release
from seitpp.tokenizers.codebook import load_codebook, save_codebook

SIZE = ["--codebook-size", "391"]
CODEBOOK = np.random.default_rng(2).normal(size=(391, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("convert_store.py")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    tokens = np.random.default_rng(0).integers(0, 391, (5, 32, 32))
    return write_release(tokens, tmp_path / "in" / "toy", labels=np.array([0, 1, 2, 1, 0]))[0].path


@pytest.fixture
def codebook_file(tmp_path: Path) -> Path:
    save_codebook(tmp_path / "codebook.ckpt", CODEBOOK)
    return tmp_path / "codebook.ckpt"


def test_import_and_export_give_the_same_contents(
    main: Callable, data: Path, codebook_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "synonyms.json").write_text(json.dumps({str(code): [0, 1] for code in range(391)}, indent=3))
    (tmp_path / "classes.txt").write_text("cat\ndog\nemu\n")
    files = ["--codebook", str(codebook_file), "--synonyms", str(tmp_path / "synonyms.json")]
    more = ["--classes", str(tmp_path / "classes.txt"), "--name", "vit-vqgan"]
    assert main([str(data), str(tmp_path / "store"), *files, *more]) == 0
    reader = StoreReader(tmp_path / "store")
    assert reader.classes == ["cat", "dog", "emu"] and reader.header["tokenizer"] == {"name": "vit-vqgan"}
    assert reader.content_hash in capsys.readouterr().out

    assert main([str(tmp_path / "store"), str(tmp_path / "out" / "toy"), "--to", "release"]) == 0
    assert capsys.readouterr().out.count("same content as imported") == 4
    for path in data.parent.iterdir():
        unpack = gzip.decompress if path.suffix == ".gz" else bytes
        assert unpack(path.read_bytes()) == unpack((tmp_path / "out" / path.name).read_bytes())
    assert (tmp_path / "out" / "toy-synonyms.json").read_text() == (tmp_path / "synonyms.json").read_text()
    assert (load_codebook(tmp_path / "out" / "codebook.ckpt") == CODEBOOK).all()


def test_copy_with_another_codec(main: Callable, data: Path, tmp_path: Path) -> None:
    assert main([str(data), str(tmp_path / "a"), *SIZE]) == 0
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--codec", "raw"]) == 0
    first, second = StoreReader(tmp_path / "a"), StoreReader(tmp_path / "b")
    assert first.codebook_size == second.codebook_size == 391 and first.codebook is None
    assert second.header["codec"] == {"name": "raw", "dtype": "uint16"}
    np.testing.assert_array_equal(first.read_all(), second.read_all())


def test_class_names_of_an_import(main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("n03", "n01", "n02"):
        (tmp_path / "images" / name).mkdir(parents=True)
    assert main([str(data), str(tmp_path / "a"), *SIZE, "--classes", str(tmp_path / "images")]) == 0
    assert StoreReader(tmp_path / "a").classes == ["n01", "n02", "n03"]
    for lines, message in (("a\nb\n", "label 2 is not in [0, 2) (2 classes)"), ("a\nb\na\n", "names must differ")):
        (tmp_path / "classes.txt").write_text(lines)
        assert main([str(data), str(tmp_path / "b"), *SIZE, "--classes", str(tmp_path / "classes.txt")]) == 1
        assert message in capsys.readouterr().err


def test_transcoding_with_small_shards(main: Callable, data: Path, tmp_path: Path) -> None:
    assert main([str(data), str(tmp_path / "a"), *SIZE, "--codec", "zstd", "--shard-bytes", "2500"]) == 0
    assert main([str(data), str(tmp_path / "a"), *SIZE, "--codec", "zstd", "--shard-bytes", "2500", "--resume"]) == 0
    first = StoreReader(tmp_path / "a")
    assert len(first.header["shards"]) == 3 and first.header["codec"]["name"] == "zstd"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--codec", "bitpacked"]) == 0
    np.testing.assert_array_equal(StoreReader(tmp_path / "b").read_all(), first.read_all())
    assert main([str(tmp_path / "a"), str(tmp_path / "out" / "toy")]) == 0
    assert (tmp_path / "out" / data.name).read_bytes() == data.read_bytes()


def test_labels_from_elsewhere(main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (data.parent / "toy-label.txt").rename(tmp_path / "mine.txt")
    assert main([str(data), str(tmp_path / "a"), *SIZE]) == 0
    assert "no label file was found" in capsys.readouterr().out
    assert main([str(data), str(tmp_path / "b"), *SIZE, "--labels", str(tmp_path / "mine.txt")]) == 0
    np.testing.assert_array_equal(StoreReader(tmp_path / "b").labels, [0, 1, 2, 1, 0])


def test_existing_target_is_refused(main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(data), str(tmp_path / "a"), *SIZE]) == 0
    assert main([str(data), str(tmp_path / "a"), *SIZE]) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert main([str(data), str(tmp_path / "a"), *SIZE, "--resume"]) == 0


def test_wrong_label_count_is_reported(
    main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (data.parent / "toy-label.txt").write_text("0\n1\n")
    assert main([str(data), str(tmp_path / "a"), *SIZE]) == 1
    assert "2 labels" in capsys.readouterr().err and not (tmp_path / "a").exists()


def test_import_of_another_grid(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tokens = np.random.default_rng(0).integers(0, 391, (2, 4, 6))
    data = str(write_release(tokens, tmp_path / "in" / "toy")[0].path)
    assert main([data, str(tmp_path / "a"), *SIZE]) == 1
    assert "image 0 has 24 codes, expected 1024 for a grid of 32 x 32" in capsys.readouterr().err
    assert main([data, str(tmp_path / "b"), *SIZE, "--grid", "4", "6"]) == 0
    np.testing.assert_array_equal(StoreReader(tmp_path / "b").read_all(), tokens)


def test_codebook_size_below_the_codes_is_reported(
    main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(data), str(tmp_path / "a"), "--codebook-size", "300"]) == 1
    assert "expected codes below 300" in capsys.readouterr().err


def test_malformed_synonyms_are_reported(
    main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "synonyms.json").write_text('{"7": 3}')
    assert main([str(data), str(tmp_path / "a"), *SIZE, "--synonyms", str(tmp_path / "synonyms.json")]) == 1
    assert "synonyms.json: key '7' has the value 3, expected a list of codes" in capsys.readouterr().err


def test_resume_from_another_source_is_refused(
    main: Callable, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = str(write_release(np.zeros((5, 32, 32), int), tmp_path / "other" / "toy")[0].path)
    labels = ["--labels", str(data.parent / "toy-label.txt")]
    assert main([str(data), str(tmp_path / "a"), *SIZE]) == 0
    assert main([other, str(tmp_path / "a"), *SIZE, *labels, "--resume"]) == 1
    assert "cannot resume, source is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.data.bin.gz", "out"], "give --codebook FILE or --codebook-size K"),
        (["x.data.bin.gz", "out", "--codebook", "c", "--codebook-size", "5"], "not allowed with argument"),
        (["store", "out", "--codebook-size", "5"], "--codebook-size belongs to the import of a release"),
        (["store", "out", "--grid", "4", "6"], "--grid belongs to the import of a release"),
        (["x.data.bin.gz", "out", "--to", "release"], "a release is written from a store"),
        (["store", "out", "--to", "release", "--codec", "raw"], "without --codec"),
        (["store", "out", "--to", "release", "--shard-bytes", "9"], "without --codec, --shard-bytes"),
        (["store", "out", "--to", "store", "--name", "x"], "--name belongs to the import of a release"),
    ],
)
def test_contradicting_options_are_refused(
    main: Callable, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err
