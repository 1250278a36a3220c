"""A store of some classes of another one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seitpp.benchmarking.synthetic import make_codebook
from seitpp.storage import CodeTable, StoreReader, StoreWriter, select_classes
from seitpp.storage import reader as module
from seitpp.storage.stats import class_names_hash

NAMES = ["n04", "n01", "n03", "n02"]  # indices 0..3, not sorted
LABELS = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2])
TOKENS = np.random.default_rng(0).integers(0, 20, (11, 3, 3))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., StoreReader]:
    """Writes a store of eleven samples in shards of a few."""

    def make(name: str = "whole", tokens: np.ndarray = TOKENS, **options: Any) -> StoreReader:
        defaults = {"codebook_size": 20, "grid": (3, 3), "tokenizer": {"name": "toy"}, "classes": NAMES}
        options = {**defaults, "label_kind": "class", "shard_bytes": 110, **options}
        with StoreWriter(tmp_path / name, **options) as writer:
            writer.append(tokens, LABELS)
        return StoreReader(tmp_path / name)

    return make


def test_chosen_classes_are_numbered_by_name(write: Callable, tmp_path: Path) -> None:
    facts = {
        "codebook": make_codebook(20, 4),
        "synonyms": {0: [1, 2]},
        "code_table": CodeTable(np.arange(20) * 3, 60),
        "source": {"kind": "list", "num_images": 11},
        "tokenizer": {"name": "toy", "weights_sha256": "abc"},
    }
    reader = write(**facts)
    assert len(reader.header["shards"]) > 2
    select_classes(reader, tmp_path / "some", ["n04", "n01", "n02"], shard_bytes=130)
    store = StoreReader(tmp_path / "some")
    places = [0, 1, 3, 4, 5, 7, 8, 9]
    np.testing.assert_array_equal(store.read_all(), TOKENS[places])
    assert store.labels.tolist() == [2, 0, 1, 2, 0, 1, 2, 0] and store.classes == ["n01", "n02", "n04"]
    assert store.header["tokenizer"] == facts["tokenizer"] and store.synonyms == reader.synonyms
    assert store.codebook_sha256 == reader.codebook_sha256 and store.code_table.codes.tolist() == list(range(0, 60, 3))
    assert store.header["source"] == {
        "kind": "classes of a store",
        "classes_hash": class_names_hash(["n01", "n02", "n04"]),
        "selected_from": reader.content_hash,
        "source": facts["source"],
    }
    assert store.verify() == []


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_integers_with_channels(write: Callable, tmp_path: Path, codec: str) -> None:
    tokens = np.random.default_rng(1).integers(-5, 6, (11, 3, 3, 4))
    reader = write(tokens=tokens, codebook_size=11, minimum=-5, channels=4, codec=codec)
    select_classes(reader, tmp_path / "some", ["n02", "n03"], codec=codec)
    store = StoreReader(tmp_path / "some")
    np.testing.assert_array_equal(store.read_all(), tokens[[2, 3, 6, 7, 10]])
    assert store.labels.tolist() == [1, 0, 1, 0, 1] and (store.minimum, store.channels) == (-5, 4)
    assert store.header["codec"]["name"] == codec


def test_names_of_a_store_that_has_none(write: Callable, tmp_path: Path) -> None:
    reader = write(classes=None)
    select_classes(reader, tmp_path / "some", ["n03"], names=NAMES)
    np.testing.assert_array_equal(StoreReader(tmp_path / "some").read_all(), TOKENS[[2, 6, 10]])
    with pytest.raises(ValueError, match=r"whole carries no class names; name its 4 classes .*--classes-file"):
        select_classes(reader, tmp_path / "other", ["n03"])
    with pytest.raises(ValueError, match=r"5 class names were given, but .*whole has labels below 4"):
        select_classes(reader, tmp_path / "other", ["n03"], names=[*NAMES, "n05"])
    with pytest.raises(ValueError, match="class 'n04' is a class of the store twice"):
        select_classes(reader, tmp_path / "other", ["n03"], names=["n04", "n01", "n03", "n04"])
    named = write("named")
    select_classes(named, tmp_path / "fine", ["n03"], names=NAMES)
    with pytest.raises(ValueError, match="named carries other class names than those given; leave them out"):
        select_classes(named, tmp_path / "other", ["n03"], names=sorted(NAMES))
    assert not (tmp_path / "other").exists()


def test_classes_that_cannot_be_chosen(write: Callable, tmp_path: Path) -> None:
    reader = write(classes=[*NAMES, "n05"])
    with pytest.raises(ValueError, match=r"2 of 3 chosen classes are not among the 5 of the store, such as 'n08'"):
        select_classes(reader, tmp_path / "some", ["n09", "n01", "n08"])
    with pytest.raises(ValueError, match="class 'n01' is chosen twice"):
        select_classes(reader, tmp_path / "some", ["n01", "n02", "n01"])
    with pytest.raises(ValueError, match="whole has no samples of 1 of the 2 classes, such as 'n05'"):
        select_classes(reader, tmp_path / "some", ["n01", "n05"])
    with StoreWriter(tmp_path / "bare", codebook_size=20, grid=(3, 3), tokenizer={}) as writer:
        writer.append(TOKENS)
    with pytest.raises(ValueError, match="bare has labels of the kind 'none', expected class labels"):
        select_classes(StoreReader(tmp_path / "bare"), tmp_path / "some", ["n01"])
    assert not (tmp_path / "some").exists()


def test_interrupted_selection_continues(write: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = write()
    select_classes(reader, tmp_path / "whole-run", ["n01", "n04"], shard_bytes=130)
    monkeypatch.setattr(module, "samples_at_a_time", lambda num_codes: 2)
    steps = []

    def stop(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select_classes(reader, tmp_path / "some", ["n01", "n04"], shard_bytes=130, progress=stop)
    assert 0 < len(StoreReader(tmp_path / "some", allow_incomplete=True)) <= 4
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        select_classes(reader, tmp_path / "some", ["n01", "n04"], shard_bytes=130)
    with pytest.raises(ValueError, match="cannot resume, classes is"):
        select_classes(reader, tmp_path / "some", ["n01", "n02"], shard_bytes=130, resume=True)
    select_classes(reader, tmp_path / "some", ["n01", "n04"], shard_bytes=130, resume=True)
    assert steps == [(2, 6), (4, 6)]
    for path in (tmp_path / "whole-run").iterdir():
        assert path.read_bytes() == (tmp_path / "some" / path.name).read_bytes()


def test_damage_is_not_copied(write: Callable, tmp_path: Path) -> None:
    reader = write()
    last = reader.path / reader.header["shards"][-1]["file"]
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    reader = StoreReader(reader.path)
    assert reader.header["shards"][-1]["num_samples"] == 1 and NAMES[LABELS[-1]] == "n03"
    with pytest.raises(ValueError, match=rf"{last.name}.*a copy would hide it"):
        select_classes(reader, tmp_path / "some", ["n03"])
    select_classes(reader, tmp_path / "other", ["n04", "n02"])  # in other shards
    assert len(StoreReader(tmp_path / "other")) == 5
