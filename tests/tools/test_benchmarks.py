"""The benchmarks of tools/analysis_tools/ at sizes that take no time: that they run, and what they report."""

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seitpp.benchmarking import steps
from seitpp.benchmarking.synthetic import make_store
from seitpp.benchmarking.timing import hardware, measure
from seitpp.io.command_line import run_tool
from seitpp.storage import StoreReader

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
    sizes = ["--batch-size", 4, "--naive-images", 1, "--rounds", 1, "--photographs", 2]
    figures = run("benchmark_data.py", "--store", store, *sizes)
    rows = figures["images_per_s"]["1"]
    assert all(speed > 0 for speed in rows.values())
    assert {"ours: fetch and crop, to codes", "naive: crop, to codes", "JPEG: Pillow and torchvision"} <= set(rows)
    assert "JPEG: simplejpeg and OpenCV" in rows
    assert all(picture.shape == (375, 500, 3) for picture in decoded)
    assert figures["jpeg_bytes"] > 30_000 and figures["hardware"]["cpu"] in capsys.readouterr().out


def test_the_release_has_no_bytes_for_large_codebooks(tmp_path: Path) -> None:
    tool = runpy.run_path(str(TOOLS / "benchmark_data.py"))
    args = tool["parse_args"](["--batch-size", "2", "--naive-images", "1"])
    for codes, has_bytes in ((510, True), (511, False)):
        reader = StoreReader(make_store(tmp_path / str(codes), num_samples=2, grid=(8, 8), codebook_size=codes))
        names = tool["build_candidates"](reader, args)
        assert any(name.startswith("naive: fetch") for name in names) == has_bytes
        assert "naive: crop, to codes" in names


def test_a_decoder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    rows = runpy.run_path(str(TOOLS / "benchmark_data.py"))["jpeg_candidates"]([])
    assert not any("simplejpeg" in name for name in rows)
    assert "pip install simplejpeg" in capsys.readouterr().out


@pytest.fixture(scope="session")
def tiny_mtm(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The smallest recipe of MTM on eight samples in batches of four, which are made once."""
    config = repository / "configs" / "mtm" / "mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
    folder = tmp_path_factory.mktemp("synthetic")
    return [str(config), "--synthetic", str(folder), "--images", "8", "--batch-size", "4"]


def test_a_step_is_split_and_compared_with_the_plain_one(
    run: Callable, tiny_mtm: list[str], capsys: pytest.CaptureFixture
) -> None:
    figures = run(
        "benchmark_train.py", *tiny_mtm, "--resident", "--candidates", "plain", "eager-float32", "--rounds", 1
    )
    plain, eager = figures["candidates"]["plain"], figures["candidates"]["eager-float32"]
    assert (plain["precision"], eager["precision"]) == ("bfloat16", "float32")
    for found in (plain, eager):
        spent = found["ms_per_step"]
        assert set(spent) == {"data", "augmentation", "forward", "backward", "optimizer"} and min(spent.values()) > 0
        assert 0.5 < sum(spent.values()) * found["images_per_s"] / (1e3 * 4) <= 1
        ratio = found["model_images_per_s"] / found["images_per_s"]
        assert found["end_to_end_to_model"] == pytest.approx(ratio)
        rate = figures["matrix_flops_per_s"][found["precision"]]
        expected = figures["flops_per_image"] * found["images_per_s"] / rate
        assert found["share_of_matrix_rate"] == pytest.approx(expected)
    assert eager["times_plain"] == pytest.approx(eager["images_per_s"] / plain["images_per_s"])
    fastest = max(plain["images_per_s"], eager["images_per_s"])
    for gpus in (8, 64):
        best, worst = figures["computed"][str(gpus)]["images_per_s"]
        assert best == pytest.approx(gpus * fastest) and 0.9 * best < worst < best
        hours = figures["computed"][str(gpus)]["hours"]
        assert hours == pytest.approx([100 * 8 / speed / 3600 for speed in (best, worst)])  # 100 epochs of 8 images
    assert figures["hardware"]["torch"] == torch.__version__
    assert "4 of 8 samples per step" in capsys.readouterr().out


def test_a_candidate_that_does_not_run_leaves_the_others(
    tiny_mtm: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(steps, "why_not_compiled", lambda *_: "no compiler here")
    main = runpy.run_path(str(TOOLS / "benchmark_train.py"))["main"]
    line = [*tiny_mtm, "--candidates", "compiled-bfloat16", "eager-bfloat16", "--rounds", 1, "--out", tmp_path / "out"]
    assert main([*map(str, line)]) == 1
    figures = json.loads((tmp_path / "out").read_text())
    assert figures["failed"] == {
        "compiled-bfloat16": "RuntimeError: torch.compile does not work here: no compiler here"
    }
    assert list(figures["candidates"]) == ["eager-bfloat16"]
    assert "no compiler here" in capsys.readouterr().out


def test_what_is_compiled_follows_the_config(
    run: Callable, tiny_mtm: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(steps, "why_not_compiled", lambda *_: None)
    monkeypatch.setattr(steps, "compile_networks", lambda _model, *given: calls.append(given))
    options = ["--cfg-options", "compile.per_block=True", "compile.backend=eager"]
    run("benchmark_train.py", *tiny_mtm, "--candidates", "compiled-bfloat16", "--rounds", 1, *options)
    assert calls == [({"backend": "eager"}, True)]


def test_operators_of_a_step_are_listed(
    run: Callable, tiny_mtm: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ["--steps", 1, "--rows", 3, "--precision", "float32", "--trace", tmp_path / "trace.json"]
    accumulated = ["--cfg-options", "optim_wrapper.accumulative_counts=2"]
    figures = run("profile_step.py", *tiny_mtm, *options, *accumulated)
    rows = figures["operators"]
    assert [row["cpu_ms"] for row in rows] == sorted((row["cpu_ms"] for row in rows), reverse=True)
    assert figures["totals"]["cpu_ms"] == pytest.approx(sum(row["cpu_ms"] for row in rows))
    calls = {row["operator"]: row["calls"] for row in rows}
    assert {"aten::addmm", "aten::mm"} <= set(calls) and calls["Optimizer.step#AdamW.step"] == 1
    assert "8 of 8 samples per step" in capsys.readouterr().out
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--batch-size", "9"], "the 8 training samples do not fill a batch of 9"),
        (["--device", "tpu"], "device 'tpu' is none"),
        (["--candidates", "eager-float32", "--cfg-options", "train_dataloader=None"], "train_dataloader"),
    ],
)
def test_wrong_options_of_a_step_are_one_line(
    tiny_mtm: list[str], capsys: pytest.CaptureFixture, line: list[str], message: str
) -> None:
    main = runpy.run_path(str(TOOLS / "benchmark_train.py"))["main"]
    assert run_tool(lambda: main([*tiny_mtm, *line])) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "leaf",
    [
        "seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py",
        "seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py",
        "representations/linear_mtm_vit-tiny-p2_1xb64-90e_digits-tokens.py",
        "segmentation/upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py",
        "tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py",
        "tokenizers/vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px.py",
    ],
)
def test_steps_of_every_kind_of_config_run(run: Callable, repository: Path, leaf: str) -> None:
    sizes = ["--synthetic", "--images", 8, "--batch-size", 2, "--steps", 1]
    figures = run("profile_step.py", repository / "configs" / leaf, *sizes)
    assert all(figures["phases_s"][phase] > 0 for phase in ("data", "forward", "backward", "optimizer"))
