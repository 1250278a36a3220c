"""Whole runs by the project's own commands: train a config, test what came out, read its metrics."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seitpp.engine.resuming import newest_checkpoint

console = Console(highlight=False, soft_wrap=True)


def run_command(*command: object, log: Path) -> None:
    """Run `python COMMAND` and show its progress lines; the full output goes to `log`. Exits if the command fails."""
    line = [str(word) for word in command]
    console.print(f"$ python {' '.join(line)[:300]}", style="bold", markup=False)
    log.parent.mkdir(parents=True, exist_ok=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "bufsize": 1}
    shown = 0.0
    with log.open("w") as file, subprocess.Popen([sys.executable, *line], **pipes) as process:
        for output in process.stdout:
            file.write(output)
            match = re.search(r"Epoch\((train|val|test)\).*", output)
            scored = match and match[1] != "train" and ":" in match[0].split("data_time")[0]
            if match and (scored or time.perf_counter() - shown > 3):
                shown = time.perf_counter()
                console.print("  " + re.sub(r"\s{2,}", "  ", match[0]), markup=False)
    if process.returncode:
        console.print(log.read_text()[-3000:], markup=False)
        raise SystemExit(f"the command above failed; its full output is in {log}")


def train_and_test(config: str, work_dir: Path, options: Sequence[str] = ()) -> dict[str, float]:
    """Train a config with overrides and test its last checkpoint; return the metrics, which `metrics.json` keeps."""
    overrides, metrics = ["--cfg-options", *options] if options else [], work_dir / "metrics.json"
    run_command("tools/train.py", config, "--work-dir", work_dir, *overrides, log=work_dir / "train.log")
    test = ["tools/test.py", config, last_checkpoint(work_dir), "--work-dir", work_dir, "--out", metrics]
    run_command(*test, log=work_dir / "test.log")
    return json.loads(metrics.read_text())


def last_checkpoint(work_dir: Path) -> Path:
    return Path(newest_checkpoint(str(work_dir)))
