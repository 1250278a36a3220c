"""`tools/analysis_tools/benchmark_store.py` at sizes that take no time: rows, sizes by formula, opening many shards."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seitpp.storage import CODECS, StoreReader, StoreWriter

TOOL = Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "benchmark_store.py"


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    loaded = runpy.run_path(str(TOOL))
    loaded["main"].__globals__["SAMPLES_PER_SHARD"] = 3
    return loaded


@pytest.fixture
def run(tool: dict[str, Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(*line: object) -> dict[str, Any]:
        threads = torch.get_num_threads()
        assert tool["main"]([*map(str, line), "--rounds", "1", "--out", str(tmp_path / "figures.json")]) == 0
        torch.set_num_threads(threads)
        return json.loads((tmp_path / "figures.json").read_text())

    return call


def test_every_codec_of_a_store_is_measured(run: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tokens = np.minimum(np.random.default_rng(0).geometric(0.1, (60, 8, 8)) - 1, 299)
    with StoreWriter(tmp_path / "s", codebook_size=300, grid=(8, 8), tokenizer={"name": "toy"}) as writer:
        writer.append(tokens)
    (facts,) = run(tmp_path / "s", "--batch-size", 16)["stores"]
    rows = facts["codecs"]
    assert set(rows) == {*CODECS, "rows alone", "release file"}
    assert rows["raw"]["bytes_per_image"] == 128 and rows["bitpacked"]["bytes_per_image"] == 72
    assert all(rows[codec][key] > 0 for codec in CODECS for key in rows["raw"])
    assert rows["release file"]["in_order_images_per_s"] > 0 and rows["raw"].keys() >= {"open_s", "random_ms"}
    assert "random 16, ms" in " ".join(capsys.readouterr().out.split()) and facts["num_samples"] == 60


def test_store_of_more_codes_than_a_release_holds(run: Callable, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", codebook_size=600, grid=(2, 2), tokenizer={"name": "toy"}) as writer:
        writer.append(np.full((3, 2, 2), 599))
    (facts,) = run(tmp_path / "s", "--codecs", "raw")["stores"]
    assert list(facts["codecs"]) == ["raw", "rows alone"]


def test_random_store_holds_what_it_says(tool: dict[str, Any], tmp_path: Path) -> None:
    reader = StoreReader(tool["write_made_up"](tmp_path / "s", "bitpacked", 52))
    assert len(reader) == 52 and len(reader.header["shards"]) == 18 and reader.verify() == []
    tokens = reader.read_all()
    assert (tokens[:3] == tokens[48:51]).all() and (tokens[:3] != tokens[3:6]).any() and len(reader.labels) == 52


def test_store_of_the_images_of_another_one(run: Callable, tool: dict[str, Any], tmp_path: Path) -> None:
    tokens = np.arange(24).reshape(2, 3, 4) % 7
    with StoreWriter(tmp_path / "s", codebook_size=7, grid=(3, 4), tokenizer={"name": "toy"}) as writer:
        writer.append(tokens)
    (facts,) = run(tmp_path / "s", "--images", 8, "--codecs", "zstd")["stores"]
    assert (facts["num_samples"], facts["num_shards"], facts["sample_shape"]) == (8, 3, [3, 4])
    made = StoreReader(tool["write_made_up"](tmp_path / "made", "raw", 8, StoreReader(tmp_path / "s"))).read_all()
    assert {tuple(np.sort(image.ravel())) for image in made} == {tuple(np.sort(image.ravel())) for image in tokens}
    assert len({image.tobytes() for image in made}) > 2


def test_lower_bound_reads_the_same_rows(tool: dict[str, Any], tmp_path: Path) -> None:
    reader = StoreReader(tool["write_made_up"](tmp_path / "s", "bitpacked", 52))
    indices = np.random.default_rng(0).integers(0, 52, 40)
    kept: list[np.ndarray] = []
    tool["rows_alone"].__globals__["gather_rows"] = lambda *args: kept.append(tool["gather_rows"](*args))
    tool["rows_alone"](reader.path, 40)()
    np.testing.assert_array_equal(kept[0], reader.read_rows(indices))


def test_opening_is_measured_by_number_of_shards(run: Callable, capsys: pytest.CaptureFixture) -> None:
    opening = run("--shards", 2, 5)["opening"]
    assert [row["images"] for row in opening.values()] == [2 * 3, 5 * 3]
    assert opening["5"]["header_bytes"] > opening["2"]["header_bytes"] and opening["5"]["open_s"] > 0
    assert "header, bytes" in capsys.readouterr().out


@pytest.mark.slow
def test_photographs_become_a_store(tool: dict[str, Any], tmp_path: Path) -> None:
    assert tool["main"](["--photographs", str(tmp_path / "s")]) == 0
    assert len(StoreReader(tmp_path / "s")) == 2 * 2 * 16 * 13
