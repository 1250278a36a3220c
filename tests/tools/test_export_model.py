"""`tools/export_model.py`: its options, what it prints, and that a file which is wrong is not kept."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.export import ExportedProgram

from helpers.classifier import TrainedClassifier, make_trained_classifier
from helpers.tools import tool_main
from seitpp.export import export
from seitpp.export.export import Exporter, Parity


@pytest.fixture
def main() -> Callable[..., int]:
    return lambda *line: tool_main("export_model.py")(line)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """Lets all exports share the first one's graph, which takes most of the time."""
    trace, programs = Exporter._traced, []

    def traced(exporter: Exporter, module: nn.Module) -> ExportedProgram:
        if not programs:
            programs.append(trace(exporter, module))
        return programs[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exporter, "_traced", traced)
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Arguments of `export_model`, which a stand-in replaces."""
    recorded = []

    def record(config: str, checkpoint: str, out: Path, **options: Any) -> list[Parity]:
        recorded.append({"config": config, "checkpoint": checkpoint, "out": out, **options})
        (tmp_path / "done.onnx").write_bytes(bytes(1234))
        return [Parity(tmp_path / "done.onnx", 8, (1, 3, 4), 2.5e-7, 0.9996)]

    monkeypatch.setattr(export, "export_model", record)
    return recorded


def test_file_is_written_and_compared(
    main: Callable, traced_once: None, trained: TrainedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "new" / "digits"
    options = ["--tokenizer", trained.store, "--format", "torch-export", "--batch-size", 3]
    assert main(trained.config, trained.checkpoint, out, *options) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{out}.pt2: ") and first.endswith(", 100.00% of tokens the same")
    assert "on 6 samples in batches of 3, 3 logits differ by at most " in first
    assert second.startswith(f"{out}.json: ")
    assert sorted(os.listdir(tmp_path / "new")) == ["digits.json", "digits.pt2"]
    assert json.loads(Path(f"{out}.json").read_text())["input_shape"] == [3, 3, 10, 10]


def test_file_above_the_tolerance_is_not_kept(
    main: Callable, traced_once: None, trained: TrainedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "digits.pt2"
    options = ["--tokenizer", trained.store, "--batch-size", 3, "--tolerance", -1]
    assert main(trained.config, trained.checkpoint, out, *options) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "so far" not in line]  # of its progress
    assert len(errors) == 1 and "error: digits.pt2 gives logits that differ by up to " in errors[0]
    assert os.listdir(tmp_path) == []


def test_defaults(main: Callable, calls: list, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main("c.py", "x.pth", "a/b") == 0
    assert calls == [
        {
            "config": "c.py",
            "checkpoint": "x.pth",
            "out": Path("a/b"),
            "tokenizer": None,
            "input": None,
            "formats": ["onnx"],
            "batch_size": None,
            "tolerance": 1e-4,
        }
    ]
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{tmp_path / 'done.onnx'}: 1,234 bytes; on 8 samples in batches of 1, 3, 4 logits differ by at most 2.5e-07, "
        "99.96% of tokens the same"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--format", "both"], {"formats": ["onnx", "torch-export"]}),
        (["--batch-size", "8", "--input", "tokens"], {"batch_size": 8, "input": "tokens"}),
        (["--batch-size", "dynamic", "--tokenizer", "t.py"], {"batch_size": None, "tokenizer": "t.py"}),
    ],
)
def test_options_are_passed_on(main: Callable, calls: list, options: list[str], expected: dict) -> None:
    assert main("c.py", "x.pth", "a/b", *options) == 0
    assert {key: calls[0][key] for key in expected} == expected


@pytest.mark.parametrize(("out", "formats"), [("b.pt2", ["torch-export"]), ("b.onnx", ["onnx"]), ("v1.5", ["onnx"])])
def test_suffix_says_the_format(main: Callable, calls: list, out: str, formats: list[str]) -> None:
    assert main("c.py", "x.pth", out) == 0
    assert calls[0]["formats"] == formats and calls[0]["out"] == Path(out if out == "v1.5" else "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["out.pt2", "--format", "onnx"], "OUT ends in .pt2 and --format is onnx; leave out the suffix"),
        (["out", "--batch-size", "0"], "'0' is no positive number, and not dynamic"),
        (["out", "--batch-size", "many"], "'many' is no positive number, and not dynamic"),
        (["out", "--input", "pixels"], "invalid choice: 'pixels'"),
    ],
)
def test_wrong_options(main: Callable, capsys: pytest.CaptureFixture, options: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main("c.py", "x.pth", *options)
    assert message in capsys.readouterr().err


def test_missing_checkpoint_is_one_line(
    main: Callable, trained: TrainedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(trained.config, tmp_path / "none.pth", tmp_path / "out") == 1
    assert capsys.readouterr().err.endswith(f"error: checkpoint {tmp_path / 'none.pth'} does not exist\n")
