"""The end of every tool: exit statuses, and one line for what went wrong."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

from seitpp.io.command_line import error_line, run_tool
from seitpp.registry import DATASETS, MODELS


def raising(error: BaseException):
    """A `main` that raises."""

    def main() -> int:
        raise error

    return main


@pytest.fixture(autouse=True)
def named_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tools/some_tool.py"])


@pytest.mark.parametrize(("returned", "status"), [(0, 0), (None, 0), (3, 3)])
def test_returned_status_is_kept(returned: int | None, status: int, capsys: pytest.CaptureFixture) -> None:
    assert run_tool(lambda: returned) == status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("store data/a is\n  damaged"), "store data/a is damaged"),
        (FileNotFoundError(2, "No such file or directory", "a.py"), "a.py: No such file or directory"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "a -> b: Invalid cross-device link"),
        (ModuleNotFoundError("No module named 'onnx'"), "No module named 'onnx'"),
        (KeyError("model"), "KeyError: model (SEITPP_TRACEBACK=1 shows where)"),
        (AssertionError(), "AssertionError (SEITPP_TRACEBACK=1 shows where)"),
        (ValueError(), "ValueError (SEITPP_TRACEBACK=1 shows where)"),
        (MemoryError(), "out of memory"),
    ],
)
def test_error_is_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture) -> None:
    assert run_tool(raising(error)) == 1
    assert capsys.readouterr().err == f"some_tool.py: error: {line}\n"


@pytest.mark.parametrize("names", [(), ("a.bin",)])
def test_too_many_open_files_say_the_limit(names: tuple) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    line = error_line(OSError(errno.EMFILE, "Too many open files", *names))
    assert line.startswith("".join(f"{name}: " for name in names) + "too many open files, the limit of this process")
    assert f"is {limit} (ulimit -n); " in line and line.endswith("use fewer workers")
    assert "on this machine" in error_line(OSError(errno.ENFILE, "Too many open files in system"))


def test_very_long_message_is_cut() -> None:
    assert len(error_line(ValueError("x" * 10**6))) < 2100


def test_message_of_a_loaders_process_is_its_last_line() -> None:
    text = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "a.py", line 1, in f\n    raise ValueError()\nValueError: a.png cannot be read\n'
    )
    assert error_line(ValueError(text)) == "a.png cannot be read"


def test_text_of_an_exit_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert run_tool(raising(SystemExit("no\nfile"))) == 1
    assert capsys.readouterr().err == "some_tool.py: error: no file\n"


def test_exit_of_the_command_line_stays() -> None:
    with pytest.raises(SystemExit, match="2"):
        run_tool(raising(SystemExit(2)))


def test_interruption(capsys: pytest.CaptureFixture) -> None:
    assert run_tool(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "some_tool.py: interrupted\n"


def test_rank_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    run_tool(raising(ValueError("bad")))
    assert capsys.readouterr().err == "some_tool.py: error (rank 3): bad\n"


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("SEITPP_TRACEBACK", "1")
    run_tool(raising(KeyError("model")))
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_unregistered_type_is_named_with_the_nearest() -> None:
    with pytest.raises(KeyError) as caught:
        MODELS.build({"type": "seitpp.TokenSegmento"})
    line = error_line(caught.value)
    assert "names 'seitpp.TokenSegmento', which is no registered model; did you mean seitpp.TokenSegmentor" in line


def test_part_without_its_prefix_is_told_the_prefix() -> None:
    with DefaultScope.overwrite_default_scope("mmpretrain"), pytest.raises(KeyError) as caught:
        MODELS.build({"type": "TokenViT"})
    assert error_line(caught.value).endswith("which is no registered model here; write seitpp.TokenViT")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "a", "stor": "b"}, "gives TokenDataset an option 'stor' that it does not have"),
        ({}, "does not give TokenDataset what it needs: 'store'"),
    ],
)
def test_wrong_options_of_a_type_are_named(options: dict, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        DATASETS.build({"type": "seitpp.TokenDataset", **options})
    assert message in error_line(caught.value)


def test_closed_output_ends_quietly() -> None:
    code = (
        "from seitpp.io.command_line import run_tool\n"
        "def main():\n    for i in range(10**6): print('line', i)\n"
        "raise SystemExit(run_tool(main))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_needs_neither_torch_nor_mmengine() -> None:
    code = "import sys, seitpp.io.command_line as _; print(sorted({'torch', 'mmengine', 'numpy'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert output.stdout == "[]\n"


def test_every_tool_ends_with_it(repository: Path) -> None:
    tools = [path for path in (repository / "tools").rglob("*.py") if "__pycache__" not in path.parts]
    assert len(tools) >= 30
    start = 'if __name__ == "__main__":\n'
    ending = "    raise SystemExit(run_tool(main))\n"
    for path in tools:
        if "def main(" not in path.read_text():  # what tools beside it share
            continue
        called = path.read_text().partition(start)[2]
        if path.name == "print_config.py":  # which other programs run within theirs, where an exit would end them
            assert called == "    if status := run_tool(main):\n        raise SystemExit(status)\n"
        else:
            assert called == ending, path
