"""`tools/analysis_tools/benchmark_augment.py` at sizes that take no time: that it runs and what it reports."""

import json
from pathlib import Path

import pytest

from helpers.tools import tool_main


def test_each_augmentation_is_timed_eager_and_compiled(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = ["--batch-size", 2, "--rounds", 1, "--backend", "eager", "--json", tmp_path / "figures.json"]
    assert tool_main("analysis_tools/benchmark_augment.py")(line) == 0
    rows = json.loads((tmp_path / "figures.json").read_text())["augmentations"]
    assert len(rows) == 11 and all(row["eager_ms"] > 0 and row["compiled_ms"] > 0 for row in rows.values())
    assert "batches of 2" in capsys.readouterr().out
