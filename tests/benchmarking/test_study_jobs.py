"""Jobs side by side: what runs first, what is left out, and what is said of failures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seitpp.benchmarking.study.jobs import DONE, Job, run_jobs


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Return a job that enters its name into the file `ran` and then runs Python code."""

    def make(name: str, code: str = "", *needs: str) -> Job:
        line = f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r}); {code}"
        return Job(tmp_path / name, lambda: (("-c", line),), tuple(tmp_path / need for need in needs))

    return make


def ran(tmp_path: Path) -> str:
    return (tmp_path / "ran").read_text()


def test_jobs_run_in_order_as_soon_as_their_needs_are_done(tmp_path: Path, job: Callable[..., Job]) -> None:
    shown: list[str] = []
    assert run_jobs([job("a", "", "c"), job("b"), job("c")], 1, shown.append) == 3
    assert ran(tmp_path) == "bca"
    assert shown[0] == f"start {tmp_path}/b" and shown[-1].endswith("(3 of 3 done)")
    assert "(1 of 3 done, about 0:0" in shown[1]


def test_jobs_that_are_done_do_not_run_again(tmp_path: Path, job: Callable[..., Job]) -> None:
    run_jobs([job("a")], 1, print)
    assert run_jobs([job("a"), job("b")], 1, print) == 1
    assert ran(tmp_path) == "ab"


def test_a_folder_that_other_commands_filled_is_refused(tmp_path: Path, job: Callable[..., Job]) -> None:
    run_jobs([job("a")], 1, print)
    with pytest.raises(ValueError, match="a was filled by another command, python -c"):
        run_jobs([job("b"), job("a", "1")], 1, print)
    assert ran(tmp_path) == "a"  # nothing is started then


def test_what_does_not_need_a_failed_job_still_runs(tmp_path: Path, job: Callable[..., Job]) -> None:
    shown: list[str] = []
    with pytest.raises(ChildProcessError, match=r"failed: wrong .its output is in .*commands.log"):
        run_jobs([job("a", "exit('wrong')"), job("b", "", "a"), job("c")], 1, shown.append)
    assert ran(tmp_path) == "ac" and not (tmp_path / "a" / DONE).exists()
    assert any(line.startswith(f"FAILED {tmp_path}/a: ") for line in shown)


def test_a_job_whose_needs_no_job_makes_is_left_out_and_named(tmp_path: Path, job: Callable[..., Job]) -> None:
    with pytest.raises(FileNotFoundError, match=r"1 jobs were left out, for they need what has not run: .*/other"):
        run_jobs([job("a", "", "other"), job("b")], 1, print)
    assert ran(tmp_path) == "b"


def test_commands_are_asked_for_when_the_needs_are_done(tmp_path: Path, job: Callable[..., Job]) -> None:
    late = Job(tmp_path / "late", lambda: (("-c", (tmp_path / "a" / DONE).read_text() and "1"),), (tmp_path / "a",))
    assert run_jobs([late, job("a")], 2, print) == 2
