"""The fuzzer finds nothing, in two runs of other cases; and it would, where a reader reads what it should refuse."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seitpp.io.untrusted import read_file

FUZZER = Path(__file__).with_name("fuzz_files.py")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_file_is_read_wrongly_or_crashes(seed: int, spawn: Callable) -> None:
    process = spawn(sys.executable, FUZZER, "--cases", 4000, "--seed", seed)
    printed, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, printed[-5000:]
    total = printed.splitlines()[-1].split()
    assert total[0] == "all" and total[-2:] == ["0", "0"]
    assert sum(int(count.replace(",", "")) for count in total[1:]) == 4000


@pytest.mark.slow
def test_the_fuzzer_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(FUZZER.parent)
    fuzzer = runpy.run_path(str(FUZZER))
    subject = fuzzer["Subject"](
        make=lambda folder: (folder / "a.txt").write_bytes(bytes(range(100))),
        read=lambda folder: {"content": list(read_file(folder / "a.txt", "file", at_most=1000))},
    )
    (tmp_path / "sound").mkdir()
    subject.make(tmp_path / "sound")
    expected = subject.read(tmp_path / "sound")
    results = [
        fuzzer["run_case"](subject, tmp_path / "sound", expected, tmp_path, [0, number]).outcome for number in range(40)
    ]
    assert results.count("wrong") > 20 and results.count("crashed") == 0
    assert {"refused", "wrong"} <= set(results)
