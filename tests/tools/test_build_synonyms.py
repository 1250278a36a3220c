"""`tools/build_synonyms.py`: the nearest codes of any codebook, as a file that Token-EDA reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.tools import tool_main
from seitpp.augment import TokenEDA
from seitpp.storage import StoreWriter, load_synonyms
from seitpp.tokenizers import codebook
from seitpp.tokenizers.codebook import nearest_neighbours, save_codebook

K = 40
CODEBOOK = np.random.default_rng(0).normal(size=(K, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("build_synonyms.py")


def write_store(path: Path, codebook: np.ndarray | None, **facts: str) -> Path:
    options = {"codebook_size": K, "grid": (2, 2), "tokenizer": {"name": "toy", **facts}, "codebook": codebook}
    with StoreWriter(path, **options) as writer:
        writer.append(np.zeros((3, 2, 2), int))
    return path


def slow_neighbours(codebook: np.ndarray, count: int, distance: str) -> dict[int, list[int]]:
    """What neighbours are: all other codes sorted by their distance."""
    rows = codebook.astype(np.float64)
    if distance == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    table = {}
    for code, row in enumerate(rows):
        order = np.argsort(np.linalg.norm(rows - row, axis=1), kind="stable")
        table[code] = [other for other in order.tolist() if other != code][:count]
    return table


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("count", [1, 8, K - 1])
def test_neighbours_are_the_nearest_other_codes(distance: str, count: int) -> None:
    assert nearest_neighbours(CODEBOOK, count, distance) == slow_neighbours(CODEBOOK, count, distance)


def test_parts_of_the_codebook_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, done = nearest_neighbours(CODEBOOK, 5), []
    monkeypatch.setattr(codebook, "_NEIGHBOUR_SCORES", 7 * K)
    assert nearest_neighbours(CODEBOOK, 5, progress=lambda *state: done.append(state)) == expected
    assert done == [(7, K), (14, K), (21, K), (28, K), (35, K), (K, K)]


def test_equal_codes_are_each_other_s_neighbours_in_order() -> None:
    codebook = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, 2]], np.float32)
    assert nearest_neighbours(codebook, 2) == {0: [2, 3], 1: [4, 0], 2: [0, 3], 3: [0, 2], 4: [1, 0]}


@pytest.mark.parametrize("name", ["codebook.npy", "codebook.ckpt", "store"])
def test_any_codebook_makes_a_file_that_token_eda_reads(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    source, out = tmp_path / name, tmp_path / "new" / "similar.json"
    if name == "store":
        write_store(source, CODEBOOK)
    else:
        save_codebook(source, CODEBOOK)
    assert main([str(source), str(out)]) == 0
    assert "the 8 nearest of each of 40 codes, distance cosine" in capsys.readouterr().out
    assert load_synonyms(out) == nearest_neighbours(CODEBOOK, 8)
    assert [path.name for path in out.parent.iterdir()] == ["similar.json"]
    batch = {"inputs": torch.zeros(2, 4, 4, dtype=torch.uint8), "codebook": torch.from_numpy(CODEBOOK)}
    codes = TokenEDA(out, synonym_prob=1, swap_prob=0, token_prob=1)(batch)["inputs"]
    assert set(codes.unique().tolist()) <= set(nearest_neighbours(CODEBOOK, 5)[0])


@pytest.mark.parametrize(
    ("facts", "options", "distance"),
    [
        ({"distance": "euclidean"}, [], "euclidean"),
        ({"type": "PatchKMeans"}, [], "euclidean"),
        ({"distance": "cosine"}, [], "cosine"),
        ({}, [], "cosine"),
        ({"distance": "euclidean"}, ["--distance", "cosine"], "cosine"),
    ],
)
def test_distance_is_the_store_s_unless_asked_for(
    main: Callable, tmp_path: Path, facts: dict, options: list[str], distance: str
) -> None:
    write_store(tmp_path / "store", CODEBOOK, **facts)
    assert main([str(tmp_path / "store"), str(tmp_path / "out.json"), "--count", "3", *options]) == 0
    assert load_synonyms(tmp_path / "out.json") == nearest_neighbours(CODEBOOK, 3, distance)


@pytest.mark.parametrize("count", ["0", "40", "-1"])
def test_wrong_count_is_an_error_and_keeps_the_old_file(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, count: str
) -> None:
    save_codebook(tmp_path / "codebook.npy", CODEBOOK)
    (tmp_path / "out.json").write_text("old")
    assert main([str(tmp_path / "codebook.npy"), str(tmp_path / "out.json"), "--count", count]) == 1
    assert f"error: count is {count}, expected 1 to 39" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "old"


def test_unknown_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="distance is 'l1', expected cosine or euclidean"):
        nearest_neighbours(CODEBOOK, 3, "l1")


def test_missing_codebook_is_an_error(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(tmp_path / "nothing.npy"), str(tmp_path / "out.json")]) == 1
    assert "nothing.npy does not exist" in capsys.readouterr().err


def test_store_without_codebook_is_an_error(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_store(tmp_path / "store", None)
    assert main([str(tmp_path / "store"), str(tmp_path / "out.json")]) == 1
    assert "store carries no codebook" in capsys.readouterr().err and not (tmp_path / "out.json").exists()
