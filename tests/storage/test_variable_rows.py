"""Samples of any shape and type: writing, reading, channels, a minimum."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seitpp.storage import StoreReader, StoreWriter, copy_store, open_source, store_stats, write_release
from seitpp.storage.format import read_header, write_header

CODECS = ["bitpacked", "raw"]
GRID = (4, 6)
SLOW_MACHINES = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def toy(num: int = 25, codebook_size: int = 391, shape: tuple[int, ...] = GRID, minimum: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.minimum(rng.geometric(min(1, 8 / codebook_size), (num, *shape)) - 1, codebook_size - 1)
    return values + minimum


def write(path: Path, tokens: np.ndarray | None = None, **options: Any) -> StoreReader:
    tokens = toy() if tokens is None else tokens
    begin = {"codebook_size": 391, "grid": GRID, "tokenizer": {"name": "toy"}, "shard_bytes": 400, **options}
    labels = np.arange(len(tokens)) % 5 if options.get("label_kind") == "class" else None
    with StoreWriter(path, **begin) as writer:
        for start in range(0, len(tokens), 7):
            writer.append(tokens[start : start + 7], None if labels is None else labels[start : start + 7])
    return StoreReader(path)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("label_kind", ["none", "class"])
def test_random_access_equals_sequential(tmp_path: Path, codec: str, label_kind: str) -> None:
    reader, tokens = write(tmp_path / "s", codec=codec, label_kind=label_kind), toy()
    assert len(reader.header["shards"]) > 1 and reader.verify() == []
    np.testing.assert_array_equal(reader.read_all(), tokens)
    places = np.random.default_rng(1).integers(0, 25, 40)
    np.testing.assert_array_equal(reader.read(places), tokens[places])
    np.testing.assert_array_equal(reader.read(slice(20, 3, -4)), tokens[20:3:-4])
    assert reader.read([]).shape == (0, *GRID)
    assert reader.num_bytes == sum(file.stat().st_size for file in (tmp_path / "s").iterdir())
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read([24, 3]), tokens[[24, 3]])
    if label_kind == "class":
        np.testing.assert_array_equal(reader.labels, np.arange(25) % 5)


@given(
    codec=st.sampled_from(CODECS),
    codebook_size=st.sampled_from([1, 2, 255, 256, 391, 8192]),
    dtype=st.sampled_from([np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]),
    channels=st.none() | st.integers(1, 3),
    signed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(SLOW_MACHINES, max_examples=60)
def test_samples_survive_a_store(
    tmp_path_factory: pytest.TempPathFactory,
    codec: str,
    codebook_size: int,
    dtype: type,
    channels: int | None,
    signed: bool,
    seed: int,
) -> None:
    minimum = -(codebook_size // 2) if signed and not np.issubdtype(dtype, np.unsignedinteger) else 0
    shape = (3, 2) if channels is None else (3, 2, channels)
    tokens = np.random.default_rng(seed).integers(minimum, minimum + codebook_size, (5, *shape)).astype(dtype)
    options = {"codebook_size": codebook_size, "grid": (3, 2), "channels": channels, "minimum": minimum}
    path = tmp_path_factory.mktemp("any") / "s"
    reader = write(path, tokens, codec=codec, **options)
    np.testing.assert_array_equal(reader.read_all(), tokens.astype(np.int64))
    assert reader.verify() == [] and reader.sample_shape == shape
    assert (reader.channels, reader.minimum) == (channels, minimum)


@pytest.mark.parametrize(
    ("codebook_size", "minimum", "dtype"),
    [
        (256, 0, np.uint8),
        (256, -128, np.int8),
        (256, -127, np.int16),
        (257, 0, np.uint16),
        (2**16, -(2**15), np.int16),
        (2**16, -(2**15) - 1, np.int32),
        (2, 2**15, np.uint16),
        (4, 2**20, np.int32),
    ],
)
def test_values_come_in_the_smallest_type(tmp_path: Path, codebook_size: int, minimum: int, dtype: type) -> None:
    tokens = np.array([minimum, minimum + codebook_size - 1]).reshape(1, 1, 2)
    options = {"codebook_size": codebook_size, "grid": (1, 2), "minimum": minimum, "codec": "raw"}
    reader = write(tmp_path / "s", tokens, **options)
    for found in (reader.read_all(), reader.read([0])):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, tokens)


# Integer grids


def test_grid_of_integers(tmp_path: Path) -> None:
    tokens = toy(9, 2001, (2, 3, 4), minimum=-1000)
    options = {"codebook_size": 2001, "grid": (2, 3), "channels": 4, "minimum": -1000}
    reader = write(tmp_path / "a", tokens, **options)
    assert reader.header["channels"] == 4 and reader.header["minimum"] == -1000 and reader.codebook is None
    np.testing.assert_array_equal(reader.read([8, 0]), tokens[[8, 0]])
    copy_store(reader, tmp_path / "b", codec="raw")
    np.testing.assert_array_equal(StoreReader(tmp_path / "b").read_all(), tokens)
    stats = store_stats(open_source(tmp_path / "b"))
    assert stats.values_per_sample == 24 and stats.codes_used == len(np.unique(tokens))
    shares = [np.unique(tokens[..., c], return_counts=True)[1] / 54 for c in range(4)]
    assert stats.entropy_bits == pytest.approx(np.mean([-(share * np.log2(share)).sum() for share in shares]))
    assert stats.entropy_bound_bytes == pytest.approx(stats.entropy_bits * 3)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\) and values from -1000; a release holds plain codes"):
        write_release(reader, tmp_path / "release")


def test_entries_enter_the_content_hash_and_are_left_out_by_default(tmp_path: Path) -> None:
    options = {"codebook_size": 391, "grid": GRID}
    plain = write(tmp_path / "a", **options)
    assert not {"channels", "minimum", "code_table"} & set(plain.header)
    one = write(tmp_path / "b", toy()[..., None], channels=1, **options)
    shifted = write(tmp_path / "c", toy(minimum=-3), minimum=-3, **options)
    shards = [[shard["sha256"] for shard in reader.header["shards"]] for reader in (plain, one, shifted)]
    assert shards[0] == shards[1] == shards[2]
    assert len({plain.content_hash, one.content_hash, shifted.content_hash}) == 3


def test_value_out_of_range_names_its_place(tmp_path: Path) -> None:
    tokens = toy(3, 11, (2, 3, 2), minimum=-5)
    tokens[1, 0, 2, 1] = 6
    with pytest.raises(ValueError, match=r"sample 1: code 6 at row 0, column 2, channel 1 is not in \[-5, 6\)"):
        write(tmp_path / "s", tokens, codebook_size=11, grid=(2, 3), channels=2, minimum=-5)
    with pytest.raises(ValueError, match=r"shape \(3, 2, 3\), expected \(n, 2, 3, 2\)"):
        write(tmp_path / "t", tokens[..., 0], codebook_size=11, grid=(2, 3), channels=2, minimum=-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"channels": 1.5}, "channels is 1.5"),
        ({"minimum": "x"}, "minimum is 'x'"),
        ({"code_table": {"file": "../x"}}, "expected a plain file name"),
    ],
)
def test_wrong_header_entries_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    write(tmp_path / "s")
    write_header(tmp_path / "s", {**read_header(tmp_path / "s"), **changes})
    with pytest.raises(ValueError, match=message):
        StoreReader(tmp_path / "s")


@pytest.mark.parametrize("key", ["channels", "minimum"])
def test_resume_without_the_new_entries_is_refused(tmp_path: Path, key: str) -> None:
    tokens = toy()[..., None] if key == "channels" else toy(minimum=1)
    write(tmp_path / "s", tokens, **{key: 1})
    with pytest.raises(ValueError, match=f"the store was begun with {key}, now there are none"):
        StoreWriter(
            tmp_path / "s", codebook_size=391, grid=GRID, tokenizer={"name": "toy"}, shard_bytes=400, resume=True
        )
