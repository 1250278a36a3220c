"""Stores with frames as rows, and samples with channels: writing, reading, damage, sizes."""

import pickle
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seitpp.storage import StoreReader, StoreWriter, copy_store, open_source, store_stats, write_release
from seitpp.storage.header import read_header, sha256_hex, write_header

CODECS = ["bitpacked", "raw", "zstd"]
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
@settings(SLOW_MACHINES, max_examples=40)
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
    options = {"codebook_size": codebook_size, "grid": (1, 2), "minimum": minimum, "codec": "zstd"}
    reader = write(tmp_path / "s", tokens, **options)
    for found in (reader.read_all(), reader.read([0])):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, tokens)


def image_like(num: int = 300, side: int = 12) -> np.ndarray:
    """Samples whose rows repeat, so that a dictionary pays."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 391, (20, side))[rng.integers(0, 20, (num, side))]


Images = Callable[..., StoreReader]


@pytest.fixture(scope="module")
def write_images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Copies of a store of `image_like` samples that has a dictionary; all codes shifted."""
    folder = tmp_path_factory.mktemp("images")
    for shift in (0, 100):
        tokens = (image_like() + shift) % 391
        options = {"codec": "zstd", "grid": (12, 12), "shard_bytes": 10**6, "label_kind": "class"}
        write(folder / str(shift), tokens, **options)

    def copied(path: Path, shift: int = 0) -> StoreReader:
        shutil.copytree(folder / str(shift), path)
        return StoreReader(path)

    return copied


def test_sizes_of_the_sections(write_images: Images, tmp_path: Path) -> None:
    reader = write_images(tmp_path / "s")
    content = (tmp_path / "s" / "shard-00000.bin").read_bytes()
    _, version, crc, num, row, label, index_at, rows_at, labels_at, sums_at = struct.unpack_from(
        "<8sIIQIIQQQQ", content
    )
    assert (version, num, row, label, index_at) == (2, 300, 0, 2, 64)
    offsets = np.frombuffer(content, "<i8", num + 1, 64)
    (dictionary_bytes,) = struct.unpack_from("<Q", content, 64 + 8 * 301)
    assert 256 <= dictionary_bytes <= 4096
    assert zlib.crc32(content[64 + 8 * 302 : 64 + 8 * 302 + dictionary_bytes]) == crc
    assert rows_at == -(-(64 + 8 * 302 + dictionary_bytes) // 8) * 8
    assert labels_at == -(-(rows_at + offsets[-1]) // 8) * 8 and sums_at == -(-(labels_at + 2 * num) // 8) * 8
    assert len(content) == sums_at + 4 * num
    sizes = reader.section_bytes
    assert (sizes["tokens"], sizes["tables"], sizes["index"]) == (offsets[-1], 8 + dictionary_bytes, 8 * 301)
    assert sizes["tokens"] < 300 * 162 / 2 and reader.verify() == []
    np.testing.assert_array_equal(reader.read_all(), image_like())


@pytest.mark.parametrize("samples", [1, 7])
def test_shards_of_one_row_and_rows_of_one_code(tmp_path: Path, samples: int) -> None:
    tokens = toy(samples, 300, (1, 1))
    options = {"codebook_size": 300, "grid": (1, 1), "codec": "zstd", "shard_bytes": 1}
    reader = write(tmp_path / "s", tokens, **options)
    assert len(reader.header["shards"]) == samples and reader.section_bytes["tables"] == 8 * samples
    np.testing.assert_array_equal(reader.read(np.arange(samples)[::-1]), tokens[::-1])


def test_transcoding_there_and_back_gives_the_same_files(tmp_path: Path) -> None:
    first = write(tmp_path / "a", image_like(60), grid=(12, 12), label_kind="class", shard_bytes=4000)
    copy_store(first, tmp_path / "b", codec="zstd", shard_bytes=4000)
    copy_store(StoreReader(tmp_path / "b"), tmp_path / "c", shard_bytes=4000)
    assert StoreReader(tmp_path / "c").content_hash == first.content_hash
    copy_store(StoreReader(tmp_path / "c"), tmp_path / "d", codec="zstd", shard_bytes=4000)
    assert StoreReader(tmp_path / "d").content_hash == StoreReader(tmp_path / "b").content_hash


def test_dictionaries_go_with_their_reader(tmp_path: Path) -> None:
    reader = write(tmp_path / "s", codec="zstd")
    reader.read([0, 24])
    with pytest.raises(ValueError, match="rows of zstd have no common size"):
        reader.read_rows([0])
    held = [shard.frame_reader is not None for shard in reader._shards]
    assert held == [True, *[False] * (len(held) - 2), True]
    reader._shards[0].close()
    assert reader._shards[0].frame_reader is None
    assert pickle.loads(pickle.dumps(reader))._shards[-1].frame_reader is None
    np.testing.assert_array_equal(reader.read([0]), toy()[:1])


def test_dictionaries_stay_when_others_need_the_open_file_until_all_take_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = write(tmp_path / "s", codec="zstd")
    shards, firsts = reader._shards, reader._starts[:-1].tolist()
    monkeypatch.setattr("seitpp.io.stable_file._MOST_OPEN", 1)
    for first in firsts:
        reader.read([first])
    assert len(shards) > 2 and all(shard.frame_reader is not None for shard in shards)
    assert [shard._opened is not None for shard in shards] == [*[False] * (len(shards) - 1), True]
    reader.close()
    monkeypatch.setattr("seitpp.storage.zstd_rows._MOST_LOADED_BYTES", 2 * 2**17 + 1)
    for first in firsts:
        reader.read([first])
    assert sum(shard.frame_reader is not None for shard in shards) == 2 and shards[-1].frame_reader is not None


def test_killed_writer_resumes_to_identical_files(tmp_path: Path) -> None:
    options = {"codebook_size": 391, "grid": GRID, "tokenizer": {"name": "toy"}, "shard_bytes": 400, "codec": "zstd"}
    StoreWriter(tmp_path / "a", **options).append(toy()[:23])  # never closed
    with StoreWriter(tmp_path / "a", **options, resume=True) as writer:
        assert 0 < writer.num_committed < 23
        writer.append(toy()[writer.num_committed :])
    write(tmp_path / "b", codec="zstd")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


# Integer grids


def test_grid_of_integers(tmp_path: Path) -> None:
    tokens = toy(9, 2001, (2, 3, 4), minimum=-1000)
    options = {"codebook_size": 2001, "grid": (2, 3), "channels": 4, "minimum": -1000}
    reader = write(tmp_path / "a", tokens, **options)
    assert reader.header["channels"] == 4 and reader.header["minimum"] == -1000 and reader.codebook is None
    np.testing.assert_array_equal(reader.read([8, 0]), tokens[[8, 0]])
    copy_store(reader, tmp_path / "b", codec="zstd")
    np.testing.assert_array_equal(StoreReader(tmp_path / "b").read_all(), tokens)
    stats = store_stats(open_source(tmp_path / "b"))
    assert stats["values_per_sample"] == 24 and stats["codes_used"] == len(np.unique(tokens))
    shares = [np.unique(tokens[..., c], return_counts=True)[1] / 54 for c in range(4)]
    assert stats["entropy_bits"] == pytest.approx(np.mean([-(share * np.log2(share)).sum() for share in shares]))
    assert stats["entropy_bound_bytes"] == pytest.approx(stats["entropy_bits"] * 3)
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


# Damage


def edit(path: Path, offset: int, value: bytes, reseal: bool = False) -> None:
    """Overwrite bytes of the first shard; `reseal` makes its hash right again, as a faulty writer would have it."""
    shard = path / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[offset : offset + len(value)] = value
    shard.write_bytes(content)
    if reseal:
        header = read_header(path)
        header["shards"][0]["sha256"] = sha256_hex(content)
        write_header(path, header)


def bounds(reader: StoreReader, sample: int) -> tuple[int, int]:
    """Where the frame of a sample starts and ends in the first shard's file."""
    layout = reader._shards[0].layout
    low, high = reader._shards[0].section(layout.index_offset + 8 * sample, 16).view("<u8").tolist()
    return layout.tokens_offset + low, layout.tokens_offset + high


@pytest.mark.parametrize("place", ["header", "content", "checksum"])
def test_flipped_bit_of_a_row_is_refused_and_named(write_images: Images, tmp_path: Path, place: str) -> None:
    start, stop = bounds(write_images(tmp_path / "s"), 3)
    at = {"header": start + 4, "content": start + 12, "checksum": stop - 1}[place]
    byte = (tmp_path / "s" / "shard-00000.bin").read_bytes()[at]
    edit(tmp_path / "s", at, bytes([byte ^ 4]))
    damaged = StoreReader(tmp_path / "s")
    for index in ([0, 3], slice(None), [3]):
        with pytest.raises(
            ValueError,
            match=r"shard-00000\.bin: sample 3 is damaged, .* decode to 144 .*; restore the shard, or make",
        ):
            damaged.read(index)
    np.testing.assert_array_equal(damaged.read([2, 4]), image_like()[[2, 4]])
    (problem,) = damaged.verify()
    assert "sample 3 is damaged, CRC-32 is" in problem


@pytest.mark.parametrize(
    "frame",
    [
        zstandard.ZstdCompressor().compress(bytes(2**20)),  # far more than a row
        b"\x28\xb5\x2f\xfd\xe4" + struct.pack("<Q", 2**62),  # says so
        b"\x28\xb5\x2f\xfd\x04\x88" + bytes(8),  # of unknown size, with a window of 128 MiB
        b"\x50\x2a\x4d\x18" + struct.pack("<I", 2**31),  # skippable
        b"",
        b"\x28",
        bytes(40),
    ],
)
def test_hostile_frame_is_refused_before_it_takes_memory(write_images: Images, tmp_path: Path, frame: bytes) -> None:
    start, stop = bounds(write_images(tmp_path / "s"), 3)
    assert len(frame) <= stop - start or frame.startswith(b"\x28\xb5")
    edit(tmp_path / "s", start, frame[: stop - start].ljust(stop - start, b"\0"), reseal=True)
    reader = StoreReader(tmp_path / "s")
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"shard-00000\.bin: sample 3 is damaged"):
        reader.read(slice(None))
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    np.testing.assert_array_equal(reader.read([2, 4]), image_like()[[2, 4]])


@pytest.mark.parametrize("end", [2**63 + 5, 2**64 - 1, 2**62, 2**32, 1])
def test_index_that_leads_elsewhere_is_refused(write_images: Images, tmp_path: Path, end: int) -> None:
    write_images(tmp_path / "s")
    edit(tmp_path / "s", 64 + 8 * 4, struct.pack("<Q", end), reseal=True)  # end of sample 3, start of sample 4
    reader = StoreReader(tmp_path / "s")
    for sample in (3, 4):
        with pytest.raises(ValueError, match=rf"shard-00000\.bin: sample {sample} is damaged"):
            reader.read([sample, 0, 299])
    np.testing.assert_array_equal(reader.read([299, 2, 5]), image_like()[[299, 2, 5]])
    problems = reader.verify()
    assert any("sample 3 is damaged" in line or "row index" in line for line in problems), problems
    edit(tmp_path / "s", 70, b"\1")  # now its hash is wrong, too
    (problem,) = StoreReader(tmp_path / "s").verify()
    assert "the row index of samples 0 to 299 of the shard is damaged, its offsets do not rise" in problem
    with pytest.raises(ValueError, match="the row index of samples 0 to 299"):
        copy_store(StoreReader(tmp_path / "s"), tmp_path / "copy")


@pytest.mark.parametrize("change", ["another shard's", "zeros", "one bit", "missing"])
def test_dictionary_that_is_not_the_shards_own_is_refused(write_images: Images, tmp_path: Path, change: str) -> None:
    layout = write_images(tmp_path / "s")._shards[0].layout
    at, size = layout.dictionary_offset + 8, layout.dictionary_bytes
    content = (tmp_path / "s" / "shard-00000.bin").read_bytes()
    other = write_images(tmp_path / "other", 100)._shards[0]
    if change == "missing":  # taken out of the file, and all that follows moved up
        rows_at = -(-(at) // 8) * 8
        content = content[:at] + bytes(rows_at - at) + content[layout.tokens_offset :]
        moved = layout.tokens_offset - rows_at
        fields = [offset - moved for offset in struct.unpack_from("<QQQ", content, 40)]
        content = (
            content[:40] + struct.pack("<QQQ", *fields) + content[64 : at - 8].join([b"", bytes(8)]) + content[at:]
        )
    else:
        dictionary = {
            "another shard's": bytes(other.section(other.layout.dictionary_offset + 8, size)),
            "zeros": bytes(size),
            "one bit": content[at : at + 300] + bytes([content[at + 300] ^ 1]) + content[at + 301 : at + size],
        }[change]
        content = content[:at] + dictionary + content[at + size :]
    (tmp_path / "s" / "shard-00000.bin").write_bytes(content)
    header = read_header(tmp_path / "s")
    header["shards"][0] |= {"sha256": sha256_hex(content), "num_bytes": len(content)}
    write_header(tmp_path / "s", header)
    reader = StoreReader(tmp_path / "s")
    with pytest.raises(
        ValueError, match=r"shard-00000\.bin: the dictionary is missing, damaged or another shard's: its"
    ):
        reader.read([0])
    assert any("the dictionary is missing" in line for line in reader.verify())


def test_rows_of_another_dictionary_are_refused(write_images: Images, tmp_path: Path) -> None:
    """Also where the shard header has the checksum of the wrong dictionary."""
    layout = write_images(tmp_path / "s")._shards[0].layout
    other = write_images(tmp_path / "other", 100)._shards[0]
    dictionary = bytes(other.section(other.layout.dictionary_offset + 8, layout.dictionary_bytes))
    edit(tmp_path / "s", layout.dictionary_offset + 8, dictionary)
    edit(tmp_path / "s", 12, struct.pack("<I", zlib.crc32(dictionary)), reseal=True)
    reader = StoreReader(tmp_path / "s")
    with pytest.raises(ValueError, match=r"sample 0 is damaged, its row does not decode"):
        reader.read([0])
    assert len(reader.verify()) == 300


@pytest.mark.parametrize("offset", [64 + 8 * 300, 64 + 8 * 301])
def test_sizes_that_contradict_the_file_are_refused(write_images: Images, tmp_path: Path, offset: int) -> None:
    write_images(tmp_path / "s")
    edit(tmp_path / "s", offset, b"\xff\xff")
    with pytest.raises(ValueError, match="but row index and dictionary ask for"):
        StoreReader(tmp_path / "s")
    edit(tmp_path / "s", 64 + 8 * 301, struct.pack("<Q", 2**40))
    with pytest.raises(ValueError, match=r"the dictionary has \d+ bytes, expected at most 1048576"):
        StoreReader(tmp_path / "s")


@pytest.mark.parametrize("size", [0, 40, 70, 500])
def test_truncated_shard_is_refused(tmp_path: Path, size: int) -> None:
    write(tmp_path / "s", codec="zstd", shard_bytes=10**6)
    path = tmp_path / "s" / "shard-00000.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"has {size} bytes, expected \d+ for 25 samples: truncated or damaged"):
        StoreReader(tmp_path / "s")
    header = read_header(tmp_path / "s")
    header["shards"][0]["num_bytes"] = size
    write_header(tmp_path / "s", header)
    with pytest.raises(ValueError, match=r"ends early|not a shard|ask for"):
        StoreReader(tmp_path / "s")
