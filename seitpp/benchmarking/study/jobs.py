"""Commands side by side on the cores of a machine, one thread each; what has ended is not started again."""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from seitpp.io.atomic_write import write_whole

DONE = "done"  # a file of a job's folder, with the seconds that its last start took
_LOG = "commands.log"
_COMMAND = re.compile(r"^\$ (python .*)$", re.MULTILINE)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Job:
    """Commands that fill one folder, one after the other.

    Attributes:
        folder: What they write to; gets `commands.log`, and the file `done` when all have ended well.
        commands: Words of each command after `python`.
    """

    folder: Path
    commands: tuple[tuple[str, ...], ...]

    @property
    def lines(self) -> list[str]:
        """The commands as a shell reads them."""
        return [shlex.join(["python", *command]) for command in self.commands]

    @property
    def log(self) -> Path:
        """File that the commands and their output go to."""
        return self.folder / _LOG

    @property
    def is_done(self) -> bool:
        """Whether all commands have ended well; a `ValueError` where the folder was filled by other commands."""
        if self.log.exists():
            others = set(commands_in(self.folder)) - set(self.lines)
            if others:
                raise ValueError(
                    f"{self.folder} was filled by another command, {sorted(others)[0]}; expected {self.lines[0]}; "
                    "remove the folder, or name another one"
                )
        return (self.folder / DONE).exists()


def run_jobs(jobs: Sequence[Job], workers: int, show: Callable[[str], None]) -> int:
    """Run the jobs that are not done, `workers` at a time, and return how many those were.

    Args:
        jobs: None may need what another one makes.
        workers: Commands at a time.
        show: Gets a line for each command when it starts, and for each job when it has ended.

    Raises:
        ChildProcessError: A command failed; the message has its last line. Jobs that were not started stay so.
    """
    waiting = [job for job in jobs if not job.is_done]
    has_failed = threading.Event()

    def run(job: Job) -> None:
        if has_failed.is_set():
            return
        try:
            _run(job, show)
        except BaseException:
            has_failed.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(run, waiting):
            pass
    return len(waiting)


def commands_in(folder: Path) -> list[str]:
    """Return the commands that a job has run in its folder, each once, as a shell reads them."""
    text = (folder / _LOG).read_text(encoding="utf-8", errors="replace")
    return list(dict.fromkeys(_COMMAND.findall(text)))


def seconds_of(folder: Path) -> float:
    """Return how long the last start of a job took that is done."""
    return float((folder / DONE).read_text(encoding="utf-8"))


def _run(job: Job, show: Callable[[str], None]) -> None:
    started = time.monotonic()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = job.log
    for line, command in zip(job.lines, job.commands, strict=True):
        show(f"$ {line}")
        with log.open("ab") as file:
            file.write(f"$ {line}\n".encode())
            file.flush()
            options = {"env": {**os.environ, **_ONE_THREAD}, "preexec_fn": _die_with_parent}
            code = subprocess.run(
                [sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, check=False, **options
            ).returncode
        if code:
            raise ChildProcessError(f"{line} failed: {_last_line(log)} (its output is in {log})")
    seconds = time.monotonic() - started
    write_whole(job.folder / DONE, f"{seconds:.0f}\n".encode())
    show(f"{job.folder}: done in {seconds:.0f} s")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _die_with_parent() -> None:
    """Let a command end when this program is killed: its successor must find the folder free."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
