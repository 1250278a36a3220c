"""`tools/analysis_tools/benchmark_augment.py` at sizes that take no time: that it runs and what it reports."""

import json
import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "benchmark_augment.py"


@pytest.mark.parametrize("precision", [[], ["--amp"]], ids=["float32", "bfloat16"])
def test_it_compares_steps_and_ways(precision: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sizes = [
        "--batch-size",
        "2",
        "--images",
        "1",
        "--rounds",
        "1",
        "--classifiers",
        "debug",
        "--autoencoders",
        "debug",
    ]
    main = runpy.run_path(str(TOOL))["main"]
    assert main([*sizes, *precision, "--backend", "eager", "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    for row in figures["augmentations"].values():
        assert row["eager_ms"] > 0 and row["compiled_ms"] > 0
    step, ways = figures["steps"]["debug"], figures["pixels"]["debug"]
    assert step["added"] == pytest.approx(step["adapt_ms"] / step["base_ms"] - 1)
    assert ways["ratio"] == pytest.approx(ways["pixels_ms"] / ways["adapt_ms"])
    printed = capsys.readouterr().out
    assert "batches of 2, 1 images" in printed
