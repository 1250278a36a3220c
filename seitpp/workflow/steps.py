"""Running a plan's commands one after the other: each logged, shown while it works, and left out when it has run."""

import ctypes
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console

from seitpp.engine.resuming import is_whole
from seitpp.io.atomic_write import write_whole
from seitpp.workflow.plan import Plan, Step, duration

RECORD_FILE = "steps.json"
_TRAINING = re.compile(r"(?:Epoch|Iter)\((train|val|test)\)\s*(.*)")
_SHOWN_SECONDS = 10.0  # between two lines where output is no terminal
_INTERRUPTED = 130


class StepFailed(ChildProcessError):
    """A command of the plan ended with an error."""


def read_records(out: str) -> dict[str, float]:
    """Return the seconds of each step that has run in a work folder."""
    path = Path(out, RECORD_FILE)
    try:
        return {name: float(seconds) for name, seconds in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):  # damaged: what each step leaves behind is looked at
        return {}


def is_done(step: Step, records: dict[str, float]) -> bool:
    """Whether a step has run to its end and left its output."""
    output = Path(step.output)
    if step.name not in records or not output.exists():
        return False
    return is_whole(output) if output.suffix == ".pth" else True


def run_steps(plan: Plan, console: Console) -> dict[str, float]:
    """Run what has not run yet; return the seconds of each step.

    Raises:
        StepFailed: A command failed; the message has its last line, and where its output is.
    """
    records = read_records(plan.out)
    is_current = True  # whether what is there was made from what is there
    for number, step in enumerate(plan.steps, 1):
        title = f"[{number}/{len(plan.steps)}] {step.what}"
        if is_current and is_done(step, records):
            console.print(f"{title}: done before, in {duration(records[step.name])}", markup=False)
            continue
        console.print(title, style="bold", markup=False)
        console.print(f"  $ {step.line}", markup=False)
        before = records.pop(step.name, 0.0) if step.command[-1] == "--resume" else 0.0
        seconds = run_step(step, log_of(plan, step), console) + before
        records[step.name], is_current = seconds, False
        write_whole(Path(plan.out, RECORD_FILE), json.dumps(records, indent=1).encode() + b"\n")
        console.print(f"  took {duration(seconds)}", markup=False)
    return records


def log_of(plan: Plan, step: Step) -> Path:
    """Return the file that a step's output goes to."""
    return Path(plan.out, "logs", f"{plan.steps.index(step) + 1}-{step.name}.log")


def run_step(step: Step, log: Path, console: Console) -> float:
    """Run one command, its output appended to `log`, and return its seconds."""
    log.parent.mkdir(parents=True, exist_ok=True)
    Path(step.output).parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"$ {step.line}    # {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
        progress = _shower(step, started, console)
        words = [sys.executable, *step.command[1:]]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
        with subprocess.Popen(words, preexec_fn=_die_with_parent, **pipes) as process:
            last = ""
            try:
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    last = line.strip() or last
                    progress(line)
            except KeyboardInterrupt:
                process.wait()
                raise
    if process.returncode:
        raise StepFailed(f"{shlex.join(step.command[:2])} failed: {last} (its output is in {log})")
    return time.monotonic() - started


def progress_line(mode: str, text: str) -> str:
    """Return what matters of a log line of mmengine: how far and the time left, or the scores, if it has any.

    `text` is what follows `Epoch(train)` or `Iter(val)`, such as `[2][22/22]  eta: 0:00:20  loss: 1.2`.
    """
    place, *pairs = re.split(r"\s{2,}", text.strip())
    values = dict(pair.split(": ", 1) for pair in pairs if ": " in pair)
    numbers = re.findall(r"\d+", place)
    if mode == "train":
        left = f", {values['eta']} left" if "eta" in values else ""
        unit = "epoch " if len(numbers) > 2 else "iteration "
        return f"{unit}{numbers[0] if numbers else ''}: loss {values.get('loss', '-')}{left}"
    scores = [
        f"{key} {value}"
        for key, value in values.items()
        if key not in ("time", "data_time", "eta", "memory") and not key.endswith("_origin")
    ]
    return f"{'validation' if mode == 'val' else 'test'}: {', '.join(scores)}" if scores else ""


def _shower(step: Step, started: float, console: Console) -> Callable[[str], None]:
    """Return what is called with each line of output, and shows how far a training is."""
    shown = started

    def show(line: str) -> None:
        nonlocal shown
        found = _TRAINING.search(line)
        if found is None:
            return
        now = time.monotonic()
        text = progress_line(found[1], found[2])
        if text and (found[1] != "train" or now - shown >= _SHOWN_SECONDS):
            shown = now
            console.print(f"  {text}", markup=False, highlight=False)

    return show


def _die_with_parent() -> None:
    """Let a command end when this program is killed: its successor must find the folder free."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
