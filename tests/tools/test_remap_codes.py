"""`tools/remap_codes.py`: subset, restore and match from the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.tools import tool_main
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers.codebook import save_codebook

K, USED = 60, np.array([9, 2, 40])
CODEBOOK = np.random.default_rng(2).normal(size=(K, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("remap_codes.py")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tokens = USED[np.random.default_rng(0).choice(3, (12, 4, 4), p=[0.6, 0.3, 0.1])]
    options = {"codebook_size": K, "grid": (4, 4), "tokenizer": {"name": "toy"}, "codebook": CODEBOOK}
    with StoreWriter(tmp_path / "s", **options) as writer:
        writer.append(tokens)
    save_codebook(tmp_path / "codebook.ckpt", CODEBOOK)
    return tmp_path / "s"


def test_subset_restore_and_match(main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["subset", str(store), str(tmp_path / "b"), "--codec", "zstd"]) == 0
    out = capsys.readouterr().out
    assert "3 of 60 codes kept" in out and StoreReader(tmp_path / "b").content_hash in out
    assert StoreReader(tmp_path / "b").code_table.codes.tolist() == USED.tolist()
    codebook = str(tmp_path / "codebook.ckpt")
    assert main(["restore", str(tmp_path / "b"), str(tmp_path / "c"), "--codebook", codebook]) == 0
    assert StoreReader(tmp_path / "c").content_hash == StoreReader(store).content_hash
    capsys.readouterr()
    assert main(["match", str(tmp_path / "b"), codebook, str(tmp_path / "new" / "table.npy")]) == 0
    assert "3 of 3 rows are equal; the lowest cosine is 1.000000" in capsys.readouterr().out
    assert np.load(tmp_path / "new" / "table.npy").tolist() == USED.tolist()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.npy"]


def test_subset_by_a_table_and_nearest(
    main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "table.npy", np.array([2, 9]))
    table = ["--table", str(tmp_path / "table.npy")]
    assert main(["subset", str(store), str(tmp_path / "b"), *table]) == 1
    assert "holds code 40" in capsys.readouterr().err
    nearest = [*table, "--nearest", "--distance", "cosine"]
    assert main(["subset", str(store), str(tmp_path / "b"), *nearest, "--resume"]) == 1
    assert "cannot resume, source is" in capsys.readouterr().err
    assert main(["subset", str(store), str(tmp_path / "c"), *table, "--nearest"]) == 1
    assert "--distance {cosine,euclidean}" in capsys.readouterr().err and not (tmp_path / "c").exists()
    assert main(["subset", str(store), str(tmp_path / "c"), *nearest]) == 0
    assert "2 of 60 codes kept, others replaced by the nearest one, distance cosine" in capsys.readouterr().out
    assert StoreReader(tmp_path / "c").codebook_size == 2
    assert main(["subset", str(store), str(tmp_path / "d"), "--min-count", "1000"]) == 1
    assert "no code occurs 1000 times" in capsys.readouterr().err


def test_errors_are_lines(main: Callable, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["restore", str(store), str(tmp_path / "b")]) == 1
    assert "error: " in (err := capsys.readouterr().err) and "has no code table" in err
    (tmp_path / "table.npy").write_bytes(b"x")
    assert main(["subset", str(store), str(tmp_path / "b"), "--table", str(tmp_path / "table.npy")]) == 1
    assert "table.npy is damaged or is not a .npy file of plain numbers" in capsys.readouterr().err
    assert main(["match", str(tmp_path / "none"), str(store), str(tmp_path / "t.npy")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["subset", str(tmp_path / "none"), str(tmp_path / "b")]) == 1
    assert "is not a token store" in capsys.readouterr().err


def test_distance_without_nearest_is_refused(main: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["subset", "a", "b", "--distance", "cosine"])
    assert "--distance belongs to --nearest" in capsys.readouterr().err
