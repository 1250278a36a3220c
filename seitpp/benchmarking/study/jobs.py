"""Commands side by side on the cores of a machine, one thread each; what has ended is not started again."""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from seitpp.io.atomic_write import write_whole
from seitpp.io.text import shorten

DONE = "done"  # a file of a job's folder, with the seconds that its last start took
Commands = tuple[tuple[str, ...], ...]
_LOG = "commands.log"
_COMMAND = re.compile(r"^\$ (python .*)$", re.MULTILINE)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Job:
    """Commands that fill one folder, one after the other.

    Attributes:
        folder: What they write to; gets `commands.log`, and the file `done` when all have ended well.
        commands: Returns the words of each command after `python`; called when the needed folders are done, since
            what a command says may depend on what they hold.
        needs: Folders of other jobs that must be done first.
    """

    folder: Path
    commands: Callable[[], Commands]
    needs: tuple[Path, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The commands as a shell reads them."""
        return [shlex.join(["python", *command]) for command in self.commands()]

    @property
    def is_ready(self) -> bool:
        """Whether all that it needs is done."""
        return all((folder / DONE).exists() for folder in self.needs)

    @property
    def is_done(self) -> bool:
        """Whether all commands have ended well; a `ValueError` where the folder was filled by other commands."""
        others = [line for line in commands_in(self.folder) if line not in self.lines]
        if others:
            raise ValueError(
                f"{self.folder} was filled by another command, {others[0]}; expected {self.lines[0]}; remove the "
                "folder, or name another one"
            )
        return (self.folder / DONE).exists()


def run_jobs(jobs: Sequence[Job], workers: int, show: Callable[[str], None]) -> int:
    """Run the jobs that are not done, `workers` at a time, and return how many those were.

    The first job in order whose needs are done is started next, so that jobs come in the order of their importance.
    When one fails, those that do not need it still run.

    Args:
        jobs: Each may need others of them, or what was done before.
        workers: Jobs at a time.
        show: Gets a line for each job when it starts and when it has ended.

    Raises:
        ChildProcessError: A command failed; the message has its last line.
        FileNotFoundError: A job needs what is not done, and no job makes it.
        ValueError: A folder was filled by other commands; if it is done, nothing is started.
    """
    waiting = [job for job in jobs if not (job.is_ready and job.is_done)]
    failures, ran = [], 0
    running: dict[Future, Job] = {}
    with ThreadPoolExecutor(workers) as pool:
        while True:
            while len(running) < workers and (job := _next(waiting)) is not None:
                waiting.remove(job)
                if not job.is_done:
                    show(f"start {job.folder}")
                    running[pool.submit(_run, job)] = job
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                message = _outcome(future, job)
                if (error := future.exception()) is not None:
                    failures.append(error)
                ran += error is None
                show(f"{message} ({_progress(jobs, workers)})")
    if failures:
        more = f"; and {len(failures) - 1} more jobs failed" if len(failures) > 1 else ""
        raise ChildProcessError(f"{failures[0]}{more}")
    if waiting:
        missing = dict.fromkeys(str(need) for job in waiting for need in job.needs if not (need / DONE).exists())
        raise FileNotFoundError(
            f"{len(waiting)} jobs were left out, for they need what has not run: {shorten(missing, 4)}; run the steps "
            "that make it, too"
        )
    return ran


def commands_in(folder: Path) -> list[str]:
    """Return the commands that a job has run in its folder, each once, as a shell reads them; none where none has."""
    log = folder / _LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return list(dict.fromkeys(_COMMAND.findall(text)))


def seconds_of(folder: Path) -> float:
    """Return how long the last start of a job took that is done."""
    return float((folder / DONE).read_text(encoding="utf-8"))


def _next(waiting: Sequence[Job]) -> Job | None:
    return next((job for job in waiting if job.is_ready), None)


def _outcome(future: Future, job: Job) -> str:
    """Return a line about a job that has ended; what is no failure of a command is raised."""
    error = future.exception()
    if error is None:
        return f"done {job.folder} in {seconds_of(job.folder):.0f} s"
    if not isinstance(error, ChildProcessError):
        raise error
    return f"FAILED {job.folder}: {error}"


def _progress(jobs: Sequence[Job], workers: int) -> str:
    """Return how many jobs are done and how long the others will take, as long as done ones of their kind took."""
    seconds: dict[str, list[float]] = {}
    for job in jobs:
        if (job.folder / DONE).exists():
            seconds.setdefault(_kind(job), []).append(seconds_of(job.folder))
    done = [one for some in seconds.values() for one in some]
    left = [mean(seconds.get(_kind(job), done)) for job in jobs if not (job.folder / DONE).exists()] if done else []
    minutes = round(sum(left) / min(workers, max(len(left), 1)) / 60)
    rest = f", about {minutes // 60}:{minutes % 60:02d} left" if left else ""
    return f"{len(done)} of {len(jobs)} done{rest}"


def _kind(job: Job) -> str:
    return job.folder.parent.name


def _run(job: Job) -> None:
    started = time.monotonic()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = job.folder / _LOG
    for line, command in zip(job.lines, job.commands(), strict=True):
        with log.open("ab") as file:
            file.write(f"$ {line}\n".encode())
            file.flush()
            options = {"env": {**os.environ, **_ONE_THREAD}, "preexec_fn": _die_with_parent}
            code = subprocess.run(
                [sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, check=False, **options
            ).returncode
        if code:
            raise ChildProcessError(f"{line} failed: {_last_line(log)} (its output is in {log})")
    write_whole(job.folder / DONE, f"{time.monotonic() - started:.0f}\n".encode())


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _die_with_parent() -> None:
    """Let a command end when this program is killed: its successor must find the folder free."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
