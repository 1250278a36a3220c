"""Synonyms files: parsing, what is refused, and the way through a store and out again to the byte."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import SeitRelease, StoreReader, copy_store, import_release, load_synonyms, write_release
from seitpp.storage.side_files import dump_synonyms

TEXT = b'{\n  "3": [1, 0],\n\t"0":[ 2 ],  "10": []}\n'
TABLE = {3: [1, 0], 0: [2], 10: []}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "similar.json"
    path.write_bytes(TEXT)
    return path


def test_unchanged_table_is_written_as_it_was_read(file: Path) -> None:
    table = load_synonyms(file)
    assert table == TABLE and list(table) == [3, 0, 10]
    assert dump_synonyms(table) == dump_synonyms(pickle.loads(pickle.dumps(table))) == TEXT


def test_changed_or_plain_table_is_written_anew(file: Path) -> None:
    table = load_synonyms(file)
    table[0] = [np.int64(1)]
    assert dump_synonyms(table) == dump_synonyms(dict(table)) == b'{"3": [1, 0], "0": [1], "10": []}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged or is not valid JSON"),
        (b'{"0": [1', "is damaged or is not valid JSON"),
        (b'{"0": [\xff]}', "is damaged or is not valid JSON"),
        (b"[[1], [0]]", "holds a JSON list, expected an object from code to similar codes"),
        (b'{"cat": [1]}', "key 'cat' is not a code, expected a decimal number"),
        (b'{"-1": [1]}', "key '-1' is not a code"),
        (b'{"01": [1]}', "key '01' is not a code"),
        (b'{"": [1]}', "key '' is not a code"),
        (b'{"1": [2], "1": [3]}', "key '1' occurs twice, expected each code once"),
        (b'{"1": 2}', r"key '1' has the value 2, expected a list of codes"),
        (b'{"1": {"2": 3}}', r"key '1' has the value \{'2': 3\}, expected a list of codes"),
        (b'{"1": [2.0]}', r"key '1' has the value \[2\.0\]"),
        (b'{"1": [true]}', r"key '1' has the value \[True\]"),
        (b'{"1": [-2]}', r"key '1' has the value \[-2\]"),
    ],
)
def test_malformed_file_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"similar\.json:? {message}"):
        load_synonyms(file)


def test_import_copy_and_export_keep_the_file_to_the_byte(file: Path, tmp_path: Path) -> None:
    data = write_release(np.arange(24).reshape(2, 3, 4), tmp_path / "in" / "t")[0].path
    release = SeitRelease(data, grid=(3, 4), codebook_size=24)
    import_release(release, tmp_path / "store", synonyms=load_synonyms(file))
    assert (tmp_path / "store" / "synonyms.json").read_bytes() == TEXT
    copy_store(StoreReader(tmp_path / "store"), tmp_path / "copy", codec="raw")
    for store in ("store", "copy"):
        assert StoreReader(tmp_path / store).synonyms == TABLE
        exported = write_release(StoreReader(tmp_path / store), tmp_path / f"out-{store}" / "t")[-1]
        assert exported.path.name == "t-synonyms.json" and exported.path.read_bytes() == TEXT
        assert exported.same_content and exported.num_bytes == len(TEXT)


def test_export_of_other_synonyms_than_imported_is_reported(file: Path, tmp_path: Path) -> None:
    data = write_release(np.arange(24).reshape(2, 3, 4), tmp_path / "in" / "t")[0].path
    import_release(SeitRelease(data, grid=(3, 4)), tmp_path / "store", synonyms=load_synonyms(file))
    reader = StoreReader(tmp_path / "store")
    reader.synonyms[0] = [3]
    assert write_release(reader, tmp_path / "out" / "t")[-1].same_content is False
