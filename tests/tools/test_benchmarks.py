"""The benchmarks of tools/analysis_tools/ at sizes that take no time: that they run, and what they report."""

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seitpp.benchmarking.timing import hardware, measure
from seitpp.testing import make_store

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "analysis_tools"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs a benchmark and returns what it wrote."""
    threads = torch.get_num_threads()

    def call(name: str, *line: object) -> dict[str, Any]:
        main = runpy.run_path(str(TOOLS / name))["main"]
        assert main([*map(str, line), "--out", str(tmp_path / "figures.json")]) == 0
        return json.loads((tmp_path / "figures.json").read_text())

    yield call
    torch.set_num_threads(threads)


def test_candidates_take_turns_after_one_to_warm_up() -> None:
    calls: list[str] = []
    seconds = measure({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2)
    assert "".join(calls) == "ababab"
    assert set(seconds) == {"a", "b"} and all(value > 0 for value in seconds.values())


def test_hardware_is_named() -> None:
    facts = hardware()
    assert facts["cpu"] and facts["torch"] == torch.__version__ and facts["threads"] == torch.get_num_threads()


def test_tokens_are_compared_with_jpeg_files(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    decoded = []

    class Decoder:
        @staticmethod
        def decode_jpeg(content: bytes, **_options: bool) -> Any:
            import cv2
            import numpy as np

            decoded.append(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))
            return decoded[-1]

    monkeypatch.setitem(sys.modules, "simplejpeg", Decoder)
    store = make_store(tmp_path / "store", grid=(8, 8), codebook_size=16)
    sizes = ["--batch-size", 4, "--naive-images", 1, "--rounds", 1, "--crop", 7, "--photographs", 2]
    figures = run("benchmark_data.py", "--store", store, *sizes)
    rows = figures["images_per_s"]["1"]
    assert all(speed > 0 for speed in rows.values())
    assert {"ours: fetch and crop, to codes", "naive: crop, to codes", "JPEG: Pillow and torchvision"} <= set(rows)
    assert "JPEG: simplejpeg and OpenCV" in rows
    assert all(picture.shape == (375, 500, 3) for picture in decoded)
    assert figures["jpeg_bytes"] > 30_000 and figures["hardware"]["cpu"] in capsys.readouterr().out


def test_a_decoder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    rows = runpy.run_path(str(TOOLS / "benchmark_data.py"))["jpeg_candidates"]([])
    assert not any("simplejpeg" in name for name in rows)
    assert "pip install simplejpeg" in capsys.readouterr().out
