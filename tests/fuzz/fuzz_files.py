"""Fuzz the readers of files: `python tests/fuzz/fuzz_files.py [--cases 2000] [--seed 0] [--only NAME]`.

Sound files of every kind are damaged, replaced and forged, one change a case, and read as their users read them, in a
process of its own with a bound on memory and on time. What came out is counted:

    refused     an error that names the file: ValueError or OSError
    found       another content without an error, which the verification of the store finds
    identical   the same content, as the change was of no consequence
    other       another content that is sound in itself, where no checksum covers the change or it was made to fit
    wrong       another content without an error, where a checksum covers the change; or one that contradicts itself
    crashed     any other error, an error that does not name the file, no answer in time, too much memory

Exit status 0 means that nothing was wrong or crashed. The same seed makes the same cases.
"""

import argparse
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import Mutation, mutate
from operations import OPERATIONS
from subjects import SUBJECTS as FILES
from subjects import Content, Subject

SUBJECTS: dict[str, Subject] = {**FILES, **OPERATIONS}
OUTCOMES = ("refused", "found", "identical", "other", "wrong", "crashed")
_FAILURES = ("wrong", "crashed")
_MORE_BYTES = 1 << 30  # than the process has at its start
_SECONDS = 20


@dataclass(frozen=True)
class Result:
    """What came out of a case, and in words what was done and seen."""

    outcome: str
    what: str


def same(first: Any, second: Any) -> bool:
    """Equality of contents, of arrays with their types and to the bit."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        alike = (first.dtype, first.shape) == (second.dtype, second.shape)
        return alike and first.tobytes() == second.tobytes()
    return type(first) is type(second) and first == second


def run_case(subject: Subject, sound: Path, expected: Content, work: Path, seed: list[int]) -> Result:
    """Change a copy of sound files and read it."""
    folder = work / "case"
    shutil.copytree(sound, folder)
    mutation = mutate(folder, np.random.default_rng(seed))
    where = f"{mutation.file}: {mutation.what}{' (forged)' if mutation.forged else ''}"
    try:
        return _judged(subject, mutation, expected, subject.read(folder), folder, where)
    except (ValueError, OSError) as error:
        named = _names_a_file(str(error), folder)
        return Result("refused" if named else "crashed", f"{where}: {type(error).__name__}: {error}")
    except BaseException as error:  # whatever else it is, it is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(place.filename).name}:{place.lineno}"
        return Result("crashed", f"{where}: {type(error).__name__}: {error} at {at}")
    finally:
        shutil.rmtree(folder)


def _judged(
    subject: Subject, mutation: Mutation, expected: Content, found: Content, folder: Path, where: str
) -> Result:
    if same(expected, found):
        return Result("identical", where)
    try:
        subject.check(found)
    except AssertionError as error:
        return Result("wrong", f"{where}: the content contradicts itself: {error}")
    if subject.verify(folder):
        return Result("found", where)
    covered = subject.covered(mutation.file) and not mutation.forged
    differs = [key for key in expected if not same(expected[key], found.get(key))]
    return Result("wrong" if covered else "other", f"{where}: other {', '.join(differs)}")


def _names_a_file(message: str, folder: Path) -> bool:
    return str(folder) in message


def _work(pipe: Connection, work: Path) -> None:
    """Serve cases until the pipe closes; in a process of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_BYTES, used + _MORE_BYTES))
    sound: dict[str, tuple[Path, Content]] = {}
    while True:
        try:
            name, seed = pipe.recv()
        except EOFError:
            return
        subject = SUBJECTS[name]
        if name not in sound:
            folder = Path(tempfile.mkdtemp(dir=work)) / "sound"
            folder.mkdir()
            subject.make(folder)
            read = shutil.copytree(folder, folder.with_name("read"))  # reading may write on
            sound[name] = folder, subject.read(read)
        pipe.send(run_case(subject, *sound[name], work, seed))


class Worker:
    """A process that runs cases, and is replaced when it dies or does not answer."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("fork")
        self._process: Any = None

    def run(self, name: str, seed: list[int]) -> Result:
        """Run one case."""
        if self._process is None:
            self._start()
        self._pipe.send((name, seed))
        try:
            if self._pipe.poll(_SECONDS):
                return self._pipe.recv()
            result = Result("crashed", f"no answer in {_SECONDS} s")
        except (EOFError, ConnectionError):
            self._process.join()
            result = Result("crashed", f"the process died, exit code {self._process.exitcode}")
        self.stop()
        return result

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            shutil.rmtree(self._folder)
            self._process = None

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()


def run_all(cases: int, seed: int, names: list[str]) -> Iterator[tuple[str, int, Result]]:
    """Cases in turn over the kinds of files: name, number of the case, result."""
    worker = Worker()
    numbers = {name: number for number, name in enumerate(SUBJECTS)}
    try:
        for case in range(cases):
            name = names[case % len(names)]
            yield name, case // len(names), worker.run(name, [seed, numbers[name], case // len(names)])
    finally:
        worker.stop()


def table(counts: dict[str, Counter[str]]) -> str:
    """Counts by kind of file and outcome."""
    width = max(map(len, [*counts, "all"]))
    lines = [" " * width + "".join(f"{outcome:>11}" for outcome in OUTCOMES)]
    for name, counted in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"{name:<{width}}" + "".join(f"{counted[outcome]:>11,}" for outcome in OUTCOMES))
    return "\n".join(lines)


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="cases in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="kinds of files whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    args = parser.parse_args()
    names = [name for name in SUBJECTS if args.only is None or args.only in name]
    if not names:
        parser.error(f"no kind of file contains {args.only!r}; there are: {', '.join(SUBJECTS)}")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for name, number, result in run_all(args.cases, args.seed, names):
        counts[name][result.outcome] += 1
        if args.verbose or result.outcome in _FAILURES:
            print(f"{result.outcome}: {name} {number}: {result.what[:600]}", flush=True)
    print(table(counts))
    return int(any(counted[outcome] for counted in counts.values() for outcome in _FAILURES))


if __name__ == "__main__":
    sys.exit(main())
