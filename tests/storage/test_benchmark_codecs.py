"""`tools/analysis_tools/benchmark_codecs.py` on a tiny store: rows, sizes by formula, what is not installed."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import StoreWriter

TOOL = Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "benchmark_codecs.py"


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return runpy.run_path(str(TOOL))["main"]


def write(path: Path, codebook_size: int) -> str:
    tokens = np.minimum(np.random.default_rng(0).geometric(0.1, (60, 8, 8)) - 1, codebook_size - 1)
    with StoreWriter(path, codebook_size=codebook_size, grid=(8, 8), tokenizer={"name": "toy"}) as writer:
        writer.append(tokens)
    return str(path)


def rows(path: Path) -> dict[str, dict]:
    (facts,) = json.loads(path.read_text())
    return {row["codec"]: row for row in facts["rows"]}


def test_every_candidate_has_a_row(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store, figures = write(tmp_path / "s", 300), tmp_path / "figures.json"
    assert main([store, "--rounds", "1", "--json", str(figures), "--markdown"]) == 0
    out, found = capsys.readouterr().out, rows(figures)
    assert list(found)[:3] == ["raw", "bitpacked", "release format"]
    assert set(found) >= {"zlib", "zstd, dictionary", "constriction, order 0"}
    assert found["raw"]["bytes_an_image"] == 128 and found["bitpacked"]["bytes_an_image"] == 72
    assert found["release format"]["bytes_an_image"] == 72  # all codes below 255: a byte each, and the index
    assert found["raw"]["share_of_bitpacked"] == pytest.approx(128 / 72)
    assert "| bitpacked | 72.0 | 1.000 |" in out and "order-0 bound" in out


def test_what_is_not_installed_says_so(
    main: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "constriction", None)
    figures = tmp_path / "figures.json"
    assert main([write(tmp_path / "s", 600), "--rounds", "1", "--json", str(figures)]) == 0
    found = rows(figures)
    assert found["zstd, dictionary"]["note"] == "not installed: pip install zstandard"
    assert found["constriction, order 0"]["bytes_an_image"] is None
    assert found["release format"]["note"] == "holds at most 510 codes"
    assert "not installed" in capsys.readouterr().out


def test_nothing_to_do_is_refused(main: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "name a store" in capsys.readouterr().err
