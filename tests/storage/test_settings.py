"""`StoreSettings`: shards from independent processes, unchanged bytes, shards of any length and number."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seitpp.io.atomic_write import write_whole
from seitpp.storage import CodeTable, StoreReader, StoreSettings, StoreWriter, copy_store, shard_entry
from seitpp.storage.header import write_header

K, GRID = 391, (4, 6)
CODEBOOK = np.linspace(-1, 1, K * 3, dtype=np.float32).reshape(K, 3)


def options(**changes: Any) -> dict[str, Any]:
    return {
        "codebook_size": K,
        "grid": GRID,
        "tokenizer": {"name": "toy", "preprocessing": {"size": [8, 8]}},
        "codebook": CODEBOOK,
        "label_kind": "class",
        "classes": list("abcde"),
        "source": {"image_bytes": 1234},
        **changes,
    }


def toy(num: int = 25) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, K, (num, *GRID)).astype(np.int64), rng.integers(0, 5, num)


def assemble(path: Path, settings: StoreSettings, shards: list[tuple[str, slice]]) -> StoreReader:
    """A store whose shards were encoded one by one, as another writer would."""
    path.mkdir()
    tokens, labels = toy()
    for name, content in settings.files().items():
        write_whole(path / name, content)
    entries = []
    for name, samples in shards:
        content = settings.encode_shard(tokens[samples], labels[samples])
        write_whole(path / name, content)
        entries.append(shard_entry(name, content, len(tokens[samples])))
    num_samples = sum(entry["num_samples"] for entry in entries)
    write_header(path, {**settings.header(), "num_samples": num_samples, "complete": True, "shards": entries})
    return StoreReader(path)


@pytest.mark.parametrize(
    ("codec", "content_hash", "files_hash"),
    [
        (
            "raw",
            "a182081d1c6b76a944a2228285dde2c155d488931009a2a7b758aa3163a30323",
            "830962bb67e9027e522011d499443dfa315595b66764b089ca2d3d8148744cf3",
        ),
        (
            "bitpacked",
            "ebf0d534c71770e87343add04a1fedad0f1b6114f02e644da00efbe601eee42e",
            "53f3b17c30326f27dd13c953f23e2f4b86a4380b7fb58e41bfaf9d61c6773ab4",
        ),
    ],
)
def test_bytes_of_a_store_are_the_recorded_ones(tmp_path: Path, codec: str, content_hash: str, files_hash: str) -> None:
    with StoreWriter(tmp_path / "s", **options(codec=codec), shard_bytes=78 + 10 * (27 + 1 + 4)) as writer:
        writer.append(*toy())
    assert StoreReader(tmp_path / "s").content_hash == content_hash
    digest = hashlib.sha256()
    for file in sorted((tmp_path / "s").iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    assert digest.hexdigest() == files_hash


def test_shards_encoded_alone_are_those_of_the_writer(tmp_path: Path) -> None:
    settings = pickle.loads(pickle.dumps(StoreSettings(**options(), samples_per_shard=10)))
    with StoreWriter(tmp_path / "a", **options(), shard_bytes=78 + 10 * (27 + 1 + 4)) as writer:
        writer.append(*toy())
        assert writer.settings.samples_per_shard == 10
    parts = [(f"shard-{number:05d}.bin", slice(10 * number, 10 * number + 10)) for number in range(3)]
    assemble(tmp_path / "b", settings, parts)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_short_shards_and_gaps_in_their_numbers(tmp_path: Path) -> None:
    parts = [("shard-00003.bin", slice(0, 2)), ("shard-00001.bin", slice(2, 12)), ("shard-00012.bin", slice(12, 25))]
    reader = assemble(tmp_path / "s", StoreSettings(**options(), samples_per_shard=14), parts)
    tokens, labels = toy()
    np.testing.assert_array_equal(reader.read_all(), tokens)
    np.testing.assert_array_equal(reader.read([24, 0, 1, 2, 11, 12]), tokens[[24, 0, 1, 2, 11, 12]])
    np.testing.assert_array_equal(reader.labels, labels)
    assert reader.verify() == []
    copy_store(reader, tmp_path / "copy")
    np.testing.assert_array_equal(StoreReader(tmp_path / "copy").read_all(), tokens)


def test_resuming_after_gaps_overwrites_no_shard(tmp_path: Path) -> None:
    settings = StoreWriter(tmp_path / "s", **options(), shard_bytes=78 + 10 * (27 + 1 + 4)).settings
    tokens, labels = toy()
    content = settings.encode_shard(tokens[:7], labels[:7])
    write_whole(tmp_path / "s" / "shard-00001.bin", content)
    entries = [shard_entry("shard-00001.bin", content, 7)]
    write_header(tmp_path / "s", {**settings.header(), "num_samples": 7, "complete": False, "shards": entries})
    with StoreWriter(tmp_path / "s", **options(), shard_bytes=78 + 10 * (27 + 1 + 4), resume=True) as writer:
        writer.append(tokens[7:], labels[7:])
    reader = StoreReader(tmp_path / "s")
    assert [shard["file"] for shard in reader.header["shards"]] == [f"shard-0000{i}.bin" for i in (1, 2, 3)]
    np.testing.assert_array_equal(reader.read_all(), tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_per_shard": 0}, "samples_per_shard is 0, expected a positive integer"),
        ({"codebook_size": 0}, "codebook_size is 0"),
        ({"codebook": CODEBOOK[:3]}, r"codebook is float32 of shape \(3, 3\), expected floats \(391, D\)"),
        ({"codec": "zip"}, "codec is 'zip'"),
        ({"channels": 0, "codebook": None}, r"channels is 0, expected None or an integer in 1\.\.4096"),
        ({"minimum": 2**31, "codebook": None}, "minimum is 2147483648"),
        ({"channels": 3}, "codebook was given, but samples with channels or a minimum are no codes of one"),
        ({"code_table": CodeTable(np.arange(5), 9)}, "code_table has 5 entries, expected one for each of the 391"),
    ],
)
def test_bad_settings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StoreSettings(**{**options(samples_per_shard=4), **changes})


@pytest.mark.parametrize("num", [0, 5])
def test_shard_of_a_wrong_number_of_samples_is_refused(num: int) -> None:
    settings = StoreSettings(**options(), samples_per_shard=4)
    with pytest.raises(ValueError, match=f"{num} samples were given for a shard, expected 1 to 4"):
        settings.encode_shard(*toy(num))


def test_bad_tokens_of_a_shard_are_refused() -> None:
    settings = StoreSettings(**options(), samples_per_shard=4)
    tokens, labels = toy(3)
    tokens[1, 2, 3] = K
    with pytest.raises(ValueError, match="sample 1: code 391 at row 2, column 3"):
        settings.encode_shard(tokens, labels)
    with pytest.raises(ValueError, match="labels are missing"):
        settings.encode_shard(toy(3)[0])


def test_more_samples_than_are_encoded_at_a_time() -> None:
    tokens = np.random.default_rng(0).integers(0, K, (5000, 1, 3))
    settings = StoreSettings(codebook_size=K, grid=(1, 3), tokenizer={}, codec="raw", samples_per_shard=5000)
    assert settings.encode_shard(tokens)[64 : 64 + 6 * 5000] == tokens.astype("<u2").tobytes()
