"""Whole runs by the project's own commands: train a config, test what came out, read its metrics; several at once."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from seitpp.engine.resuming import newest_checkpoint

console = Console(highlight=False, soft_wrap=True)

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_Result = TypeVar("_Result")


def run_command(*command: object, log: Path, label: str = "", one_thread: bool = False) -> None:
    """Run `python COMMAND` and show its progress lines; the full output goes to `log`. Exits if the command fails.

    Args:
        command: Words after `python`.
        log: File of the full output; its folder is made.
        label: What the progress lines begin with, where several commands run at once.
        one_thread: Keep the command to one thread.
    """
    line = [str(word) for word in command]
    console.print(f"$ python {' '.join(line)[:300]}", style="bold", markup=False)
    log.parent.mkdir(parents=True, exist_ok=True)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "bufsize": 1}
    environment, shown = {**os.environ, **(_ONE_THREAD if one_thread else {})}, 0.0
    with log.open("w") as file, subprocess.Popen([sys.executable, *line], env=environment, **options) as process:
        for output in process.stdout:
            file.write(output)
            match = re.search(r"Epoch\((train|val|test)\).*", output)
            scored = match and match[1] != "train" and ":" in match[0].split("data_time")[0]
            if match and (scored or time.perf_counter() - shown > 3):
                shown = time.perf_counter()
                console.print("  " + label + re.sub(r"\s{2,}", "  ", match[0]), markup=False)
    if process.returncode:
        console.print(log.read_text()[-3000:], markup=False)
        raise SystemExit(f"{' '.join(line)[:300]} failed; its full output is in {log}")


def train_and_test(
    config: str, work_dir: Path, options: Sequence[str] = (), parallel: bool = False
) -> dict[str, float]:
    """Train a config and test its last checkpoint.

    Args:
        config: File of the config.
        work_dir: Work folder of both; keeps the metrics as `metrics.json`.
        options: Overrides of the config, for `--cfg-options`.
        parallel: Keep to one thread, and begin progress lines with the folder's name.

    Returns:
        The metrics, and as `train_seconds` how long the training took from its start to its end.
    """
    overrides, metrics = ["--cfg-options", *options] if options else [], work_dir / "metrics.json"
    running = {"label": f"{work_dir.name}: ", "one_thread": True} if parallel else {}
    started = time.perf_counter()
    train = ["tools/train.py", config, "--work-dir", work_dir, *overrides]
    run_command(*train, log=work_dir / "train.log", **running)
    seconds = time.perf_counter() - started
    test = ["tools/test.py", config, last_checkpoint(work_dir), "--work-dir", work_dir, "--out", metrics]
    run_command(*test, log=work_dir / "test.log", **running)
    return {**json.loads(metrics.read_text()), "train_seconds": seconds}


def run_in_order(tasks: Mapping[str, tuple[Callable[[], _Result], Sequence[str]]], workers: int) -> dict[str, _Result]:
    """Run tasks, `workers` at a time in the given order, each after those it needs.

    Args:
        tasks: By name what runs, and the names of earlier tasks that it needs.
        workers: Tasks at a time.

    Returns:
        By name what came out. The first error ends all that has not begun, and is raised when the rest has ended.
    """
    futures: dict[str, Future[_Result]] = {}

    def after(needed: Sequence[Future[_Result]], task: Callable[[], _Result]) -> _Result:
        for one in needed:  # earlier ones, so that the wait ends with any number of workers
            one.result()
        return task()

    with ThreadPoolExecutor(workers) as pool:
        try:
            for name, (task, needs) in tasks.items():
                futures[name] = pool.submit(after, [futures[need] for need in needs], task)
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return {name: future.result() for name, future in futures.items()}


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_checkpoint(work_dir: Path) -> Path:
    return Path(newest_checkpoint(str(work_dir)))
