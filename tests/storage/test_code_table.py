"""Renumbering to the codes in use and back, and rebuilding the table from two codebooks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seitpp.storage import (
    CodeTable,
    StoreReader,
    StoreWriter,
    codes_in_use,
    copy_store,
    match_rows,
    restore_store,
    subset_store,
)
from seitpp.storage.code_table import nearest_lookup, tokenizer_distance
from seitpp.storage.header import read_header, write_header

K, GRID = 50, (3, 4)
CODEBOOK = np.random.default_rng(3).normal(size=(K, 5)).astype(np.float32)
USED = np.array([7, 3, 49, 20, 11])


def toy() -> np.ndarray:
    tokens = USED[np.random.default_rng(0).integers(0, 5, (30, *GRID))]
    tokens[:, 0, 0] = 49  # the most frequent one
    return tokens


def write(path: Path, tokens: np.ndarray | None = None, **options: Any) -> StoreReader:
    tokens = toy() if tokens is None else tokens
    begin = {"codebook_size": K, "grid": GRID, "tokenizer": {"name": "toy"}, "codebook": CODEBOOK}
    begin |= {"label_kind": "class", "classes": ["a", "b"], "shard_bytes": 300, "source": {"from": "here"}, **options}
    with StoreWriter(path, **begin) as writer:
        writer.append(tokens, np.arange(len(tokens)) % 2 if begin["label_kind"] == "class" else None)
    return StoreReader(path)


def test_codes_in_use_are_ordered_by_frequency() -> None:
    class Source:
        codebook_size, channels, minimum = 9, None, 0

        def __len__(self) -> int:
            return 2

        def iter_batches(self):
            yield np.array([[[4, 4, 8, 8, 1, 0]]])
            yield np.array([[[4, 8, 0, 1, 6, 6]]])

    assert codes_in_use(Source()).tolist() == [4, 8, 0, 1, 6]
    assert codes_in_use(Source(), min_count=3).tolist() == [4, 8]
    assert codes_in_use(Source()).dtype == np.int32
    with pytest.raises(ValueError, match="no code occurs 4 times, the most frequent one occurs 3 times"):
        codes_in_use(Source(), min_count=4)
    with pytest.raises(ValueError, match="min_count is 0"):
        codes_in_use(Source(), min_count=0)


def test_subset_and_back(tmp_path: Path) -> None:
    reader = write(tmp_path / "a", synonyms={49: [7, 8], 8: [49], 3: []})
    table = codes_in_use(reader)
    assert table[0] == 49 and sorted(table.tolist()) == sorted(USED.tolist())
    subset_store(reader, tmp_path / "b", table)
    subset = StoreReader(tmp_path / "b")
    assert subset.codebook_size == 5 and subset.verify() == []
    np.testing.assert_array_equal(table[subset.read_all()], toy())
    np.testing.assert_array_equal(subset.codebook, CODEBOOK[table])
    np.testing.assert_array_equal(subset.code_table.codes, table)
    assert subset.code_table.codebook_size == K and subset.header["code_table"]["codebook_size"] == K
    assert np.load(tmp_path / "b" / "code_table.npy").dtype == np.int32
    assert subset.synonyms == {0: [int(np.flatnonzero(table == 7)[0])], int(np.flatnonzero(table == 3)[0]): []}
    np.testing.assert_array_equal(subset.labels, reader.labels)
    assert subset.header["source"] == {"from": "here", "copied_from": reader.content_hash}

    restore_store(subset, tmp_path / "c", CODEBOOK, shard_bytes=300)
    restored = StoreReader(tmp_path / "c")
    assert restored.content_hash == reader.content_hash and restored.code_table is None
    restore_store(subset, tmp_path / "d")
    assert StoreReader(tmp_path / "d").codebook is None and StoreReader(tmp_path / "d").codebook_size == K
    np.testing.assert_array_equal(StoreReader(tmp_path / "d").read_all(), toy())


def test_subset_of_a_subset_leads_to_the_original(tmp_path: Path) -> None:
    subset_store(write(tmp_path / "a"), tmp_path / "b", np.array([1, 49, 20, 7, 3, 11]))
    inner = StoreReader(tmp_path / "b")
    subset_store(inner, tmp_path / "c", codes_in_use(inner), codec="zstd")
    outer = StoreReader(tmp_path / "c")
    np.testing.assert_array_equal(outer.code_table.codes[outer.read_all()], toy())
    restore_store(outer, tmp_path / "d", CODEBOOK)
    np.testing.assert_array_equal(StoreReader(tmp_path / "d").read_all(), toy())


def test_code_outside_the_table_is_named(tmp_path: Path) -> None:
    tokens = toy()
    tokens[21, 1, 2] = 5
    reader = write(tmp_path / "a", tokens)
    with pytest.raises(ValueError, match=r"sample 21 holds code 5 at row 1, column 2, which is not in the table"):
        subset_store(reader, tmp_path / "b", USED)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_nearest_replaces_other_codes(tmp_path: Path, distance: str) -> None:
    tokens = np.random.default_rng(1).integers(0, K, (8, *GRID))
    reader = write(tmp_path / "a", tokens, tokenizer={"name": "toy", "distance": distance})
    subset_store(reader, tmp_path / "b", USED, nearest=True)
    subset = StoreReader(tmp_path / "b")
    expected = []
    for row in CODEBOOK:
        if distance == "cosine":
            scores = [row @ CODEBOOK[code] / np.linalg.norm(row) / np.linalg.norm(CODEBOOK[code]) for code in USED]
        else:
            scores = [-np.linalg.norm(row - CODEBOOK[code]) for code in USED]
        expected.append(np.argmax(scores))
    np.testing.assert_array_equal(subset.read_all(), np.array(expected)[tokens])
    assert subset.header["source"]["codes_replaced_by"] == {"nearest": distance}


def test_kept_codes_stay_themselves_among_equal_rows() -> None:
    codebook = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert nearest_lookup(codebook, np.array([2, 1]), "cosine").tolist() == [1, 1, 0]
    assert nearest_lookup(codebook, np.array([0, 1]), "euclidean").tolist() == [0, 1, 0]


def test_nearest_without_a_codebook_is_refused(tmp_path: Path) -> None:
    reader = write(tmp_path / "a", codebook=None)
    with pytest.raises(ValueError, match="has no codebook, so no code is near another one"):
        subset_store(reader, tmp_path / "b", USED, nearest=True)
    with pytest.raises(ValueError, match="distance is 'manhattan', expected cosine or euclidean"):
        subset_store(write(tmp_path / "c"), tmp_path / "d", USED, nearest=True, distance="manhattan")


@pytest.mark.parametrize(
    ("tokenizer", "distance"),
    [
        ({"type": "PatchKMeans"}, "euclidean"),
        ({"name": "toy", "distance": "cosine"}, "cosine"),
        ({"type": "ViTVQGAN", "distance": "euclidean"}, "euclidean"),
    ],
)
def test_distance_of_a_tokenizer(tokenizer: dict, distance: str) -> None:
    assert tokenizer_distance(tokenizer, "store") == distance


@pytest.mark.parametrize(
    "tokenizer",
    [{"name": "toy"}, {"name": "vit-vqgan"}, {"type": "Mine"}, {"type": "PatchKMeans", "distance": "other"}],
)
def test_distance_is_not_guessed(tmp_path: Path, tokenizer: dict) -> None:
    reader = write(tmp_path / "a", tokenizer={"name": "toy", **tokenizer})
    with pytest.raises(ValueError, match=r"a: its header .* does not say .* \(--distance {cosine,euclidean}\)"):
        subset_store(reader, tmp_path / "b", USED, nearest=True)
    assert not (tmp_path / "b").exists()
    subset_store(reader, tmp_path / "b", USED, nearest=True, distance="cosine")
    assert StoreReader(tmp_path / "b").header["source"]["codes_replaced_by"] == {"nearest": "cosine"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([3, 7, 3], "entries 0 and 2 are both code 3"),
        ([3, 50], r"entry 1 is code 50, expected codes in \[0, 50\)"),
        ([], r"expected integers \(K',\), at least one"),
        ([0.5], "code table is float64"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, table: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subset_store(write(tmp_path / "a"), tmp_path / "b", np.array(table))
    with pytest.raises(ValueError, match=message):
        CodeTable(np.array(table), K)


def test_interrupted_subset_resumes_to_the_same_files(tmp_path: Path) -> None:
    reader = write(tmp_path / "a", np.tile(toy(), (150, 1, 1)), codebook=None, shard_bytes=3000)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subset_store(reader, tmp_path / "b", USED, shard_bytes=3000, progress=stop)
    with pytest.raises(ValueError, match="cannot resume, code_table is"):
        subset_store(reader, tmp_path / "b", USED[::-1], shard_bytes=3000, resume=True)
    subset_store(reader, tmp_path / "b", USED, shard_bytes=3000, resume=True)
    subset_store(reader, tmp_path / "c", USED, shard_bytes=3000)
    for file in (tmp_path / "b").iterdir():
        assert file.read_bytes() == (tmp_path / "c" / file.name).read_bytes()


def test_restoring_needs_a_table_and_the_right_codebook(tmp_path: Path) -> None:
    reader = write(tmp_path / "a")
    with pytest.raises(ValueError, match="has no code table"):
        restore_store(reader, tmp_path / "b")
    subset_store(reader, tmp_path / "b", USED)
    subset = StoreReader(tmp_path / "b")
    with pytest.raises(ValueError, match=r"the codebook has shape \(49, 5\), expected \(50, D\)"):
        restore_store(subset, tmp_path / "c", CODEBOOK[:49])
    other = CODEBOOK.copy()
    other[49] += 1
    with pytest.raises(ValueError, match="its rows differ, first in code 49"):
        restore_store(subset, tmp_path / "c", other)


def test_copies_keep_the_table_and_it_enters_the_content_hash(tmp_path: Path) -> None:
    reader = write(tmp_path / "a")
    subset_store(reader, tmp_path / "b", USED)
    copy_store(StoreReader(tmp_path / "b"), tmp_path / "c", codec="raw")
    np.testing.assert_array_equal(StoreReader(tmp_path / "c").code_table.codes, USED)
    header = read_header(tmp_path / "b")
    del header["code_table"]
    before = StoreReader(tmp_path / "b").content_hash
    write_header(tmp_path / "b", header)
    assert StoreReader(tmp_path / "b").content_hash != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"code_table\.npy is missing"),
        (lambda path: path.write_bytes(b"no"), r"code_table\.npy is damaged"),
        (lambda path: np.save(path, np.arange(5)), r"holds int64 of shape \(5,\), expected int32 \(5,\)"),
        (lambda path: np.save(path, np.arange(5, dtype=np.int32)), "SHA-256 of the code table is .*, expected"),
    ],
)
def test_damaged_table_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    subset_store(write(tmp_path / "a"), tmp_path / "b", USED)
    damage(tmp_path / "b" / "code_table.npy")
    with pytest.raises(ValueError, match=message):
        StoreReader(tmp_path / "b")


def test_samples_that_are_no_codes_are_refused(tmp_path: Path) -> None:
    tokens = toy()[..., None]
    reader = write(tmp_path / "a", tokens, codebook=None, channels=1)
    for action in (lambda: codes_in_use(reader), lambda: subset_store(reader, tmp_path / "b", USED)):
        with pytest.raises(ValueError, match="only plain codes"):
            action()


def test_match_finds_equal_rows_and_the_most_similar(tmp_path: Path) -> None:
    subset = CODEBOOK[USED].copy()
    subset[1] *= 2  # no longer equal, but of the same direction
    subset[2] += 1e-3
    table, exact, cosines = match_rows(subset, CODEBOOK)
    np.testing.assert_array_equal(table, USED)
    assert table.dtype == np.int32 and exact.tolist() == [True, False, False, True, True]
    assert cosines[[0, 1, 3, 4]] == pytest.approx(1, abs=1e-6) and 0.99 < cosines[2] < 1
    many = np.random.default_rng(0).normal(size=(1500, 4))  # more rows than are compared at once
    chosen = np.random.default_rng(1).permutation(1500)[:1100]
    np.testing.assert_array_equal(match_rows(many[chosen] * 3, many)[0], chosen)


def test_match_names_duplicates_and_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"entries 0 and 1 are both code 7.*two rows of the subset lead to the same"):
        match_rows(CODEBOOK[[7, 7]], CODEBOOK)
    with pytest.raises(ValueError, match=r"shapes \(50, 5\) and \(3, 5\)"):
        match_rows(CODEBOOK, CODEBOOK[:3])
    with pytest.raises(ValueError, match=r"shapes \(3, 4\) and \(50, 5\)"):
        match_rows(CODEBOOK[:3, :4], CODEBOOK)
