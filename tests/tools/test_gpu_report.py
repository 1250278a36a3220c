"""`tools/gpu_report.sh`: every step runs whatever the others do, in its time; its command lines are right."""

import json
import os
import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# Stands for python3: prints the line it is called with, and fails, or sleeps, for the tool that it is told.
STUB = """#!/usr/bin/env bash
[[ "$1" == -W ]] && exit 0
if [[ -n "${SLOW:-}" && "$*" == *"$SLOW"* ]]; then sleep 60; fi
if [[ -n "${BROKEN:-}" && "$*" == *"$BROKEN"* ]]; then echo "it broke"; exit 3; fi
echo "done"
"""
STEPS = ["mtm", "seit", "tests", "cost", "augment", "data", "vitvqgan", "vqgan", "profile"]


@pytest.fixture
def report(repository: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs the script with the stub in place of Python; status, what it printed, and its report."""

    def run(*options: str, **environment: str) -> tuple[int, str, str]:
        stub = tmp_path / "bin" / "python3"
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(STUB)
        stub.chmod(0o755)
        env = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}", **environment}
        line = ["bash", str(repository / "tools" / "gpu_report.sh"), str(tmp_path / "out"), *options]
        ended = subprocess.run(line, env=env, cwd=tmp_path, capture_output=True, text=True)
        return ended.returncode, ended.stdout + ended.stderr, (tmp_path / "out" / "report.txt").read_text()

    return run


@pytest.mark.parametrize("options", [[], ["--small"]], ids=["gpu", "small"])
def test_every_line_is_one_that_its_tool_takes(report: Callable, repository: Path, options: list[str]) -> None:
    status, printed, text = report(*options)
    assert status == 0 and "9 steps in" in printed
    lines = dict(re.findall(r"^== (\w+): python3 (.+)$", text, flags=re.MULTILINE))
    assert sorted(lines) == sorted(STEPS)
    tests = lines.pop("tests").split()
    assert tests[:4] == ["-m", "pytest", "-q", "-m"] and "gpu" in tests
    files = {repository / word for word in tests if word.startswith("tests")}
    assert repository / "tests" / "test_gpu.py" in files
    assert all("mark.gpu" in path.read_text() for path in files)  # others may need packages that are not there
    for line in lines.values():
        tool, *arguments = line.split()
        args = runpy.run_path(str(repository / tool))["parse_args"](arguments)
        (out,) = args.out if isinstance(args.out, list) else [args.out]
        assert out.parent.name == "out"
        configs = getattr(args, "configs", [args.config] if "config" in args else [])
        assert all((repository / config).is_file() for config in configs)


def test_the_limits_of_the_steps_fit_in_the_time_of_all(repository: Path) -> None:
    script = (repository / "tools" / "gpu_report.sh").read_text()
    total = int(re.search(r"SEITPP_REPORT_SECONDS:-(\d+)", script)[1])
    limits = [
        int(limit) for limit in re.findall(r"^    step \w+ (\d+) ", script.rpartition("\nelse\n")[2], re.MULTILINE)
    ]
    assert len(limits) == len(STEPS) and sum(limits) <= total < 8 * 60


def test_figures_of_an_earlier_report_do_not_stay(report: Callable, tmp_path: Path) -> None:
    old, other = tmp_path / "out" / "mtm.json", tmp_path / "out" / "mine.json"
    old.parent.mkdir()
    for path in (old, other):
        path.write_text("{}")
    report(BROKEN="configs/seitpp/mtm")
    assert not old.exists() and other.exists()


def test_a_step_that_fails_leaves_the_others(report: Callable) -> None:
    status, printed, text = report(BROKEN="benchmark_augment.py")
    assert status == 1
    assert "gpu_report.sh: 1 of 9 steps failed: augment (3)" in printed
    assert "it broke" in text and text.count("done") == 8


def test_a_step_that_takes_too_long_is_ended_and_the_time_is_bounded(report: Callable) -> None:
    status, printed, text = report(SLOW="benchmark_train.py configs/seitpp/mtm", SEITPP_REPORT_SECONDS="4")
    assert status == 1
    assert re.search(r"mtm \(took more than [1-4] s\)", printed) and "vqgan (no time left)" in printed
    assert "done" not in text


def test_wheels_are_installed_first(report: Callable, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").touch()
    status, printed, _ = report(WHEELS="wheels")
    assert status == 0 and printed.startswith("done")
    status, printed, _ = report(WHEELS="wheels", BROKEN=f"--no-deps {tmp_path / 'wheels' / 'a.whl'}")
    assert status == 1 and printed == "it broke\n"


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ([], {}, "usage: bash tools/gpu_report.sh OUT"),
        (["out", "--big"], {}, "expected --small, not --big"),
        (["out"], {"WHEELS": "none"}, "WHEELS=none holds no wheels"),
        (["out"], {"SEITPP_REPORT_SECONDS": "8 min"}, "SEITPP_REPORT_SECONDS=8 min is no number of seconds"),
    ],
)
def test_wrong_options_are_refused(
    repository: Path, tmp_path: Path, options: list[str], environment: dict[str, str], message: str
) -> None:
    line = ["bash", str(repository / "tools" / "gpu_report.sh"), *options]
    ended = subprocess.run(line, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True)
    assert ended.returncode != 0 and message in ended.stderr


@pytest.mark.slow
def test_it_runs_on_a_cpu(repository: Path, tmp_path: Path) -> None:
    line = ["bash", str(repository / "tools" / "gpu_report.sh"), str(tmp_path), "--small"]
    ended = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "SEITPP_REPORT_SECONDS": "900"})
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    for name in ("mtm", "seit", "cost", "augment", "data", "vitvqgan", "vqgan", "profile"):
        assert json.loads((tmp_path / f"{name}.json").read_text())["hardware"]["cpu"]
