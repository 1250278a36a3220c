"""`tools/analysis_tools/benchmark_frames.py` on tiny stores: a row per choice, and what cannot be measured."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import StoreWriter

TOOL = Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "benchmark_frames.py"


@pytest.mark.parametrize("channels", [None, 2])
def test_every_choice_has_a_row(tmp_path: Path, channels: int | None, capsys: pytest.CaptureFixture) -> None:
    shape = (60, 8, 8) if channels is None else (60, 8, 8, channels)
    tokens = np.minimum(np.random.default_rng(0).geometric(0.02, shape) - 1, 299)
    options = {"codebook_size": 300, "grid": (8, 8), "tokenizer": {"name": "toy"}, "channels": channels}
    with StoreWriter(tmp_path / "s", **options) as writer:
        writer.append(tokens)
    tool, out = runpy.run_path(str(TOOL)), tmp_path / "figures.json"
    assert tool["main"]([str(tmp_path / "s"), "--rounds", "1", "--out", str(out)]) == 0
    (figures,) = json.loads(out.read_text())["stores"]
    rows, packed = figures["frames"], 72 * (channels or 1)
    assert figures["held_out"] == 30 and figures["bitpacked_bytes"] == packed
    assert len(rows) == 14 + (channels is not None) and all(
        value > 0 for row in rows.values() for value in row.values()
    )
    assert rows["integers"]["bytes_per_image"] > rows["low bytes, other bits"]["bytes_per_image"] > 0.5 * packed
    assert "level 9" in capsys.readouterr().out


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", codebook_size=9, grid=(2, 2), tokenizer={}) as writer:
        writer.append(np.zeros((31, 2, 2), int))
    with pytest.raises(ValueError, match="holds 31 samples, expected at least 32"):
        runpy.run_path(str(TOOL))["main"]([str(tmp_path / "s")])
