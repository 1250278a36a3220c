"""Files of token pairs: what is written is read, by groups; what does not belong together is refused."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seitpp.storage.header import header_bytes
from seitpp.token_pairs.format import TokenPairReader, TokenPairWriter

NUM, GROUP, GROUPS_PER_PART = 10, 2, 2  # five groups in three parts, the last half full
AUGMENTS = [{"type": "seitpp.BatchRandomFlip"}, {"type": "seitpp.BatchMixup", "alpha": 0.8}]


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "num_pairs": NUM,
        "group_size": GROUP,
        "groups_per_part": GROUPS_PER_PART,
        "augments": AUGMENTS,
        "grid": (3, 4),
        "out_grid": (2, 2),
        "codebook_sha256": "ab" * 32,
        **changes,
    }


def content(dtype: type = np.uint16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "source": rng.integers(391, size=(NUM, 3, 4)).astype(dtype),
        "target": rng.integers(391, size=(NUM, 2, 2)).astype(dtype),
        "flipped": rng.random(NUM) < 0.5,
        "weight": rng.random(NUM).astype(np.float32),
        "partner": np.tile([1, 0], NUM // 2),
    }


def write_parts(writer: TokenPairWriter, parts: list[int], arrays: dict[str, np.ndarray] | None = None) -> None:
    arrays = content() if arrays is None else arrays
    for number in parts:
        rows = slice(number * GROUP * GROUPS_PER_PART, (number + 1) * GROUP * GROUPS_PER_PART)
        part = {name: values[rows] for name, values in arrays.items()}
        draws = [{"flipped": part["flipped"]}, {"weight": part["weight"], "partner": part["partner"]}]
        writer.write_part(number, part["source"], part["target"], draws)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parts(TokenPairWriter(tmp_path / "pairs", facts()), [0, 1, 2])
    return tmp_path / "pairs"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
def test_groups_are_read_as_they_were_written(tmp_path: Path, dtype: type) -> None:
    arrays = content(dtype)
    write_parts(TokenPairWriter(tmp_path / "pairs", facts()), [0, 1, 2], arrays)
    reader = TokenPairReader(tmp_path / "pairs")
    assert (reader.num_groups, reader.group_size) == (5, 2)
    for group in (4, 0, 3, 1, 2):
        source, target, draws = reader.read_group(group)
        rows = slice(group * GROUP, (group + 1) * GROUP)
        assert source.dtype == dtype
        np.testing.assert_array_equal(source, arrays["source"][rows])
        np.testing.assert_array_equal(target, arrays["target"][rows])
        assert [set(drawn) for drawn in draws] == [{"flipped"}, {"weight", "partner"}]
        np.testing.assert_array_equal(draws[0]["flipped"], arrays["flipped"][rows])
        np.testing.assert_array_equal(draws[1]["weight"], arrays["weight"][rows])
        np.testing.assert_array_equal(draws[1]["partner"], [1, 0])


def test_header_says_what_made_the_pairs(folder: Path) -> None:
    header = TokenPairReader(folder).header
    assert header == {"format": "seitpp token pairs", "version": 1, **json.loads(json.dumps(facts()))}


def test_parts_that_are_missing_are_known(tmp_path: Path) -> None:
    writer = TokenPairWriter(tmp_path / "pairs", facts())
    assert writer.missing_parts() == [0, 1, 2]
    write_parts(writer, [1])
    assert TokenPairWriter(tmp_path / "pairs", facts()).missing_parts() == [0, 2]


def test_nothing_is_left_of_a_part_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TokenPairWriter(tmp_path / "pairs", facts())

    def full(arrays: dict, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match="disk full"):
        write_parts(writer, [0])
    assert [path.name for path in (tmp_path / "pairs").iterdir()] == ["pairs.json"]


def test_full_disk_names_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    writer = TokenPairWriter(tmp_path / "pairs", facts())

    def full(arrays: dict, path: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*part-00000\.safetensors'"):
        write_parts(writer, [0])


def test_folder_that_is_being_begun_by_another_process_is_no_other_content(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / ".pairs.json.tmp7").write_text("{")
    assert TokenPairWriter(tmp_path / "pairs", facts()).missing_parts() == [0, 1, 2]


def test_copies_for_other_processes_read_the_same(folder: Path) -> None:
    reader = TokenPairReader(folder)
    reader.read_group(0)
    copied = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copied.read_group(3)[0], reader.read_group(3)[0])


def read_all(reader: TokenPairReader) -> list[np.ndarray]:
    groups = [reader.read_group(group) for group in range(reader.num_groups)]
    return [
        values
        for source, target, draws in groups
        for values in (source, target, *(drawn[name] for drawn in draws for name in sorted(drawn)))
    ]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("position", [0, 200, -70, -1])
def test_damaged_part_is_made_again(folder: Path, position: int) -> None:
    part, whole = folder / "part-00001.safetensors", read_all(TokenPairReader(folder))
    content = bytearray(part.read_bytes())
    content[position] ^= 8
    part.write_bytes(content)
    (folder / "part-00002.safetensors").write_bytes(b"half")
    writer = TokenPairWriter(folder, facts())
    assert writer.missing_parts() == [1, 2] and writer.missing_parts([0, 2]) == [2]
    write_parts(writer, [1, 2])
    assert_equal(read_all(TokenPairReader(folder)), whole)


def test_pairs_of_an_earlier_version_are_read(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    whole = read_all(TokenPairReader(folder))
    for part in folder.glob("*.safetensors"):
        arrays = load_file(part)
        save_file({name: values for name, values in arrays.items() if name not in ("checksums", "header")}, part)
    header = json.loads((folder / "pairs.json").read_text())
    header.pop("header_sha256")
    (folder / "pairs.json").write_text(json.dumps(header))
    assert_equal(read_all(TokenPairReader(folder)), whole)
    assert TokenPairWriter(folder, facts()).missing_parts() == []


class TestRefusals:
    def test_other_settings(self, folder: Path) -> None:
        message = r"pairs were begun with other settings \(group_size 2, now 5; seed None, now 1\); name a new folder"
        with pytest.raises(ValueError, match=message):
            TokenPairWriter(folder, facts(group_size=5, seed=1))

    def test_other_content(self, tmp_path: Path) -> None:
        (tmp_path / "photo.png").write_bytes(b"")
        with pytest.raises(ValueError, match="exists and holds no token pairs; name a new folder"):
            TokenPairWriter(tmp_path, facts())
        with pytest.raises(ValueError, match="exists and holds no token pairs; name a new folder"):
            TokenPairWriter(tmp_path / "photo.png", facts())

    def test_missing_parts(self, folder: Path) -> None:
        (folder / "part-00001.safetensors").unlink()
        with pytest.raises(ValueError, match=r"pairs lack 1 of 3 parts, such as part-00001\.safetensors; run tools/"):
            TokenPairReader(folder)

    @pytest.mark.parametrize("kept", [3, 50, 0.9])
    def test_truncated_part(self, folder: Path, kept: float) -> None:
        part = folder / "part-00001.safetensors"
        whole = part.read_bytes()
        part.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
        reader = TokenPairReader(folder)
        reader.read_group(0)
        with pytest.raises(ValueError, match=r"part-00001\.safetensors are damaged .*; delete the file and run tools/"):
            reader.read_group(2)

    def test_part_of_fewer_pairs(self, folder: Path) -> None:
        (folder / "part-00000.safetensors").write_bytes((folder / "part-00002.safetensors").read_bytes())
        with pytest.raises(ValueError, match=r"part-00000\.safetensors"):
            TokenPairReader(folder).read_group(1)

    @pytest.mark.parametrize("names", [["source"], ["source", "target", "draws.2.flipped"], ["source", "target", "x"]])
    def test_part_of_other_arrays(self, folder: Path, names: list[str]) -> None:
        from safetensors.numpy import save_file

        part = folder / "part-00000.safetensors"
        save_file({name: np.zeros((4, 2, 2), np.uint8) for name in names}, part)
        with pytest.raises(ValueError, match=r"part-00000\.safetensors do not hold what their header says"):
            TokenPairReader(folder).read_group(0)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"holds no token pairs .*; make them with tools/make_token_pairs"):
            TokenPairReader(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "valid JSON"),
            ("[]", "is no header of seitpp token pairs, version 1"),
            ('{"format": "seitpp token pairs", "version": 2}', "is no header of seitpp token pairs, version 1"),
            ('{"format": "seitpp token pairs", "version": 1, "grid": 3}', "lacks num_pairs, group_size, groups_per_"),
        ],
    )
    def test_header_of_something_else(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "pairs.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            TokenPairReader(tmp_path)
        with pytest.raises(ValueError, match=message):
            TokenPairWriter(tmp_path, facts())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_pairs": 2**64}, r"num_pairs is 18446744073709551616, expected an integer in 1\.\.1099511627776"),
            ({"num_pairs": 2**40}, r"lack 274877906941 of 274877906944 parts, such as part-00003"),
            ({"num_pairs": 10.0}, r"num_pairs is 10\.0"),
            ({"num_pairs": 9}, "num_pairs is 9, expected groups of 2"),
            ({"group_size": 0}, "group_size is 0"),
            ({"group_size": "2"}, "group_size is '2'"),
            ({"groups_per_part": -1}, "groups_per_part is -1"),
            ({"augments": 3}, "augments is 3, expected a list of objects"),
            ({"augments": ["x"]}, r"augments is \['x'\], expected a list of objects"),
            ({"grid": [3]}, r"grid is \[3\], expected two positive integers"),
            ({"out_grid": [2**31, 2**31]}, "out_grid is|grid is"),
            ({"codebook_size": 2**70}, "more than 64 bits|codebook_size is"),
            ({"codebook_sha256": 5}, "codebook_sha256 is 5"),
        ],
    )
    @pytest.mark.parametrize("sealed", [True, False])
    def test_forged_header(self, folder: Path, changes: dict, message: str, sealed: bool) -> None:
        header = {**json.loads((folder / "pairs.json").read_text()), **changes}
        header.pop("header_sha256")
        path = folder / "pairs.json"
        path.write_bytes(header_bytes(header) if sealed else json.dumps(header).encode())
        with pytest.raises(ValueError, match=message):
            TokenPairReader(folder)

    def test_damaged_header(self, folder: Path) -> None:
        path = folder / "pairs.json"
        path.write_text(path.read_text().replace('"alpha": 0.8', '"alpha": 0.9'))
        with pytest.raises(ValueError, match=r"pairs\.json: header_sha256 does not match"):
            TokenPairReader(folder)

    def test_every_flipped_bit_of_a_part(self, folder: Path) -> None:
        part, whole = folder / "part-00000.safetensors", read_all(TokenPairReader(folder))
        content = bytearray(part.read_bytes())
        for place in range(0, len(content)):
            content[place] ^= 1 << place % 8
            part.write_bytes(content)
            try:
                found = read_all(TokenPairReader(folder))
            except ValueError as error:
                assert "part-00000.safetensors" in str(error)
            else:  # blanks that fill up the header
                assert_equal(found, whole)
            content[place] ^= 1 << place % 8

    def test_part_of_other_pairs(self, folder: Path, tmp_path: Path) -> None:
        write_parts(TokenPairWriter(tmp_path / "other", facts(seed=2)), [0, 1, 2])
        reader = TokenPairReader(folder)
        copied = pickle.dumps(reader)
        for name in ("part-00001.safetensors", "pairs.json"):
            (folder / name).unlink()
            (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
        for opened in (reader, pickle.loads(copied)):
            with pytest.raises(
                ValueError, match=r"part-00001\.safetensors belong to other pairs than pairs\.json says"
            ):
                opened.read_group(2)

    def test_part_that_changes_while_it_is_open(self, folder: Path) -> None:
        reader, part = TokenPairReader(folder), folder / "part-00000.safetensors"
        reader.read_group(0)
        content = part.read_bytes()
        part.unlink()
        part.write_bytes(content)
        with pytest.raises(ValueError, match=r"part-00000\.safetensors have changed since they were opened; open them"):
            reader.read_group(1)

    def test_pipe(self, folder: Path) -> None:
        (folder / "part-00000.safetensors").unlink()
        os.mkfifo(folder / "part-00000.safetensors")
        with pytest.raises(ValueError, match=r"token pairs .*part-00000\.safetensors is a pipe, expected a file"):
            TokenPairReader(folder).read_group(0)
        (folder / "pairs.json").unlink()
        os.mkfifo(folder / "pairs.json")
        with pytest.raises(ValueError, match=r"pairs\.json is a pipe, expected a file"):
            TokenPairReader(folder)

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("source", np.full((4, 3, 4), 391, np.uint16), r"source has codes in \[391, 391\], expected .* \[0, 391\)"),
            ("target", np.zeros((4, 2, 2), np.float32), "target is float32"),
            ("source", np.zeros((4, 4, 3), np.uint16), r"source is uint16 of shape \(2, 4, 3\)"),
            ("draws.1.partner", np.full(4, 2), "draws.1.partner has a partner that is none of the 2 pairs"),
            ("draws.-1.x", np.zeros(4), r"draws\.-1\.x is -1"),
        ],
    )
    def test_old_part_of_impossible_values(self, tmp_path: Path, name: str, values: np.ndarray, message: str) -> None:
        from safetensors.numpy import load_file, save_file

        write_parts(TokenPairWriter(tmp_path, facts(codebook_size=391)), [0, 1, 2])
        arrays = load_file(tmp_path / "part-00000.safetensors")
        old = {key: array for key, array in arrays.items() if key not in ("checksums", "header")}
        save_file(old, tmp_path / "part-00000.safetensors")
        assert len(TokenPairReader(tmp_path).read_group(0)[0]) == GROUP
        save_file({**old, name: values}, tmp_path / "part-00000.safetensors")
        with pytest.raises(ValueError, match=message):
            TokenPairReader(tmp_path).read_group(0)
