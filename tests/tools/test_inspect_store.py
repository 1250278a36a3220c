"""`tools/inspect_store.py`: its three actions, its exit statuses, and what it prints."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tools import tool_main
from seitpp.storage import StoreReader, StoreWriter, write_release


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("inspect_store.py")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tokens = np.random.default_rng(0).integers(0, 300, (7, 4, 4))
    options = {"codebook_size": 300, "grid": (4, 4), "tokenizer": {"name": "toy"}, "label_kind": "class"}
    with StoreWriter(tmp_path / "s", shard_bytes=200, **options) as writer:
        writer.append(tokens, np.arange(7))
    return tmp_path / "s"


def test_info_shortens_the_content_hash(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(store)]) == 0
    reader, out = StoreReader(store), capsys.readouterr().out
    assert (
        f"{reader.content_hash[:12]}..." in out
        and reader.content_hash not in out
        and "bytes per image" in out
        and str(reader.num_bytes) in out
    )


def test_info_as_json(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (
        facts["num_samples"] == 7 and facts["codec"] == {"name": "bitpacked", "bits": 9} and facts["num_classes"] == 7
    )


def test_classes_are_counted(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = {"codebook_size": 4, "grid": (1, 1), "tokenizer": {}, "label_kind": "class"}
    with StoreWriter(tmp_path / "s", classes=["n01", "n02", "n03"], **options) as writer:
        writer.append(np.zeros((5, 1, 1), int), np.array([1, 0, 1, 1, 0]))
    expected = {
        "num_classes": 3,
        "num_labelled_classes": 2,
        "samples_per_class_min": 0,
        "samples_per_class_max": 3,
        "classes_hash": hashlib.sha256(b"n01\nn02\nn03").hexdigest()[:16],
    }
    for action in ("info", "stats"):
        assert main([action, str(tmp_path / "s"), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert {key: facts[key] for key in expected} == expected


@pytest.mark.parametrize("action", ["info", "stats"])
def test_tables_name_classes_and_tokenizer(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, action: str
) -> None:
    names = ["a bird of " + "very " * 20 + "many colours", *(f"c{number}" for number in range(19))]
    tokenizer = {"type": "PatchKMeans", "name": "of squares", "patch_size": 2}
    options = {"codebook_size": 4, "grid": (1, 1), "tokenizer": tokenizer, "label_kind": "class"}
    with StoreWriter(tmp_path / "s", classes=names, **options) as writer:
        writer.append(np.zeros((5, 1, 1), int), np.array([0, 2, 2, 19, 0]))
    assert main([action, str(tmp_path / "s"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["samples_per_class"] == {**dict.fromkeys(names, 0), names[0]: 2, "c1": 2, "c18": 1}
    assert facts["tokenizer"] == tokenizer
    assert main([action, str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"tokenizer +PatchKMeans \(of squares\)", out)
    assert re.search("a bird of (very )+.*\N{HORIZONTAL ELLIPSIS}: 2, c0: 0, c1: 2, .*, c10: 0 and 8 more", out)


def test_classes_without_names(main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    keys = ("num_classes", "num_labelled_classes", "samples_per_class_min", "samples_per_class_max", "classes_hash")
    assert main(["info", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [facts[key] for key in keys] == [7, 7, 1, 1, None]
    data = str(write_release(np.zeros((3, 32, 32), int), tmp_path / "t", labels=np.array([2, 0, 2]))[0].path)
    assert main(["info", data, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [facts[key] for key in keys] == [3, 2, 1, 2, None]
    data = str(write_release(np.zeros((3, 32, 32), int), tmp_path / "u")[0].path)
    assert main(["info", data, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [facts[key] for key in keys] == [None] * 5


def test_stats(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["stats", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["token_bytes"] == 18
    assert main(["stats", str(store)]) == 0
    assert "perplexity" in capsys.readouterr().out


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A store of three samples with 2 x 2 label maps of 8 and of 16 bits, and names for three classes."""
    options = {"codebook_size": 4, "grid": (1, 1), "tokenizer": {}, "label_kind": "segmentation"}
    with StoreWriter(tmp_path / "a", classes=["sky", "tree", "boat"], **options) as writer:
        writer.append(np.zeros((3, 1, 1), int))
    maps = [np.array([[0, 0], [1, 255]], np.uint8), np.array([[1, 1], [1, 7]], np.uint8)]
    (tmp_path / "a" / "labels").mkdir()
    for number, labels in enumerate([*maps, np.array([[0, 65535], [65535, 65535]], np.uint16)]):
        Image.fromarray(labels).save(tmp_path / "a" / "labels" / f"{number:08d}.png")
    return tmp_path / "a"


def test_stats_counts_the_pixels_of_each_class(main: Callable, annotated: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["stats", str(annotated), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["label_maps"]
    assert (found["pixels"], found["ignored_pixels"], found["ignored_share"]) == (12, 4, 1 / 3)
    assert [tuple(row.values()) for row in found["classes"]] == [
        (0, "sky", 3, 3 / 8, 2),
        (1, "tree", 4, 4 / 8, 2),
        (2, "boat", 0, 0, 0),
        (7, None, 1, 1 / 8, 1),
    ]
    assert main(["stats", str(annotated)]) == 0
    out = capsys.readouterr().out
    assert "perplexity" in out
    assert "pixels ignored: 4 (33.33%)" in out
    assert [line.split() for line in out.splitlines() if "tree" in line] == [["1", "tree", "4", "50.00%", "2"]]


def test_stats_of_a_store_that_lacks_a_label_map(
    main: Callable, annotated: Path, capsys: pytest.CaptureFixture
) -> None:
    (annotated / "labels" / "00000001.png").unlink()
    assert main(["stats", str(annotated)]) == 1
    assert "lacks the label maps of 1 of 3 samples, such as 00000001.png" in capsys.readouterr().out


def test_store_of_integers_with_channels(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tokens = np.random.default_rng(0).integers(-5, 6, (40, 4, 4, 3))
    options = {"codebook_size": 11, "minimum": -5, "channels": 3, "grid": (4, 4), "tokenizer": {}, "codec": "zstd"}
    with StoreWriter(tmp_path / "s", **options) as writer:
        writer.append(tokens)
    assert main(["info", str(tmp_path / "s"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["channels"] == 3 and facts["values"] == [-5, 5]
    assert facts["table_bytes_per_image"] > 0 and facts["index_bytes_per_image"] == 8 * 41 / 40
    assert main(["stats", str(tmp_path / "s"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["values_per_sample"] == 48 and 3.3 < facts["entropy_bits"] < 3.46 < facts["conditional_bits"] + 0.1
    assert facts["token_bytes"] > facts["entropy_bound_bytes"]
    for action, wanted in (("info", "table bytes per image"), ("stats", "conditional bound bytes")):
        assert main([action, str(tmp_path / "s")]) == 0
        assert wanted in capsys.readouterr().out


def test_verify_of_a_sound_store(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["verify", str(store)]) == 0
    assert "7 samples, no problems" in capsys.readouterr().out


def test_verify_names_shard_and_sample(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    path = store / "shard-00001.bin"
    content = bytearray(path.read_bytes())
    content[64] ^= 1
    path.write_bytes(content)
    first = StoreReader(store).header["shards"][0]["num_samples"]
    assert main(["verify", str(store)]) == 1
    assert f"shard-00001.bin: sample {first} is damaged" in capsys.readouterr().out
    assert main(["verify", str(store), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_verify_of_a_truncated_shard(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    path = store / "shard-00000.bin"
    path.write_bytes(path.read_bytes()[:-3])
    assert main(["verify", str(store)]) == 1
    assert "truncated or damaged" in capsys.readouterr().out


def test_verify_of_an_incomplete_store(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    writer = StoreWriter(tmp_path / "s", codebook_size=4, grid=(1, 1), tokenizer={}, shard_bytes=1)
    writer.append(np.zeros((2, 1, 1), int))
    assert main(["verify", str(tmp_path / "s")]) == 1
    assert "incomplete: 2 samples are committed" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["info", "verify", "stats"])
def test_not_a_store(main: Callable, tmp_path: Path, action: str, capsys: pytest.CaptureFixture) -> None:
    assert main([action, str(tmp_path / "nowhere")]) == 2
    assert "not a store: " in capsys.readouterr().err


def test_release_file(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tokens = np.random.default_rng(0).integers(0, 391, (3, 32, 32))
    data = str(write_release(tokens, tmp_path / "t", labels=np.array([2, 0, 1]))[0].path)
    assert main(["info", data]) == 0
    assert "SeiT release" in capsys.readouterr().out
    assert main(["stats", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples_per_class_max"] == 1
    assert main(["verify", data]) == 2
    assert "verify takes the folder of a store" in capsys.readouterr().err


def test_release_file_of_another_grid(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tokens = np.random.default_rng(0).integers(0, 391, (3, 4, 6))
    data = str(write_release(tokens, tmp_path / "t")[0].path)
    assert main(["stats", data]) == 1
    assert "has 24 codes, expected 1024" in capsys.readouterr().out
    assert main(["stats", data, "--grid", "4", "6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_samples"] == 3


def test_grid_of_a_store_is_refused(main: Callable, store: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["info", str(store), "--grid", "4", "4"])
    assert "a store knows its own" in capsys.readouterr().err
