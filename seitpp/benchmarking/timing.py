"""Timing of candidates that take turns, and the machine they ran on.

A shared machine changes its speed from minute to minute. Candidates that take turns in one process meet the same
changes, so their ratios hold where absolute figures do not; medians leave single disturbances out.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from seitpp.io.atomic_write import written_whole


def wait_for(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each candidate; they take turns, `rounds` of them after `warmup` others.

    A turn ends when the device is done. `time.process_time` as `clock` leaves out other programs of a busy machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warmup + rounds):
        for name, run in runs.items():
            wait_for(device)
            start = clock()
            run()
            wait_for(device)
            if number >= warmup:
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def matrix_product(device: str, dtype: torch.dtype) -> tuple[Callable[[], None], int]:
    """Return a call of square matrix products, whose rate bounds that of a network, and its operations."""
    side, times = (8192, 10) if torch.device(device).type == "cuda" else (1024, 1)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(times):
            torch.mm(left, right)

    return multiply, times * 2 * side**3


def hardware(device: str = "cpu") -> dict[str, Any]:
    """Return what a figure depends on besides the code: processor, GPU, threads, versions."""
    machine: dict[str, Any] = {"device": device, "cpu": _cpu_name(), "cores": os.cpu_count()}
    if torch.device(device).type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine |= {"gpu": properties.name, "gpu_memory_GB": round(properties.total_memory / 1e9, 1)}
        machine |= {"cuda": torch.version.cuda}
    return {
        **machine,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None) or platform.processor() or platform.machine()


def hardware_line(machine: Mapping[str, Any]) -> str:
    gpu = f"{machine['gpu']} ({machine['gpu_memory_GB']} GB), CUDA {machine['cuda']}; " if "gpu" in machine else ""
    return f"{gpu}{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; torch {machine['torch']}"


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--out FILE`, the same in every benchmark; `--json` is its older name."""
    parser.add_argument("--out", "--json", type=Path, metavar="FILE", help="write the figures to this file, as JSON")


def show(
    tables: Sequence[Table], figures: Mapping[str, Any], settings: str, out: Path | None, device: str = "cpu"
) -> None:
    """Print tables that have rows, settings and hardware of a device, and write the figures with both to `out`."""
    machine = hardware(device)
    console = Console(width=120)
    for table in tables:
        if table.row_count:
            console.print(table)
    print(f"{settings}\n{hardware_line(machine)}")
    if out is not None:
        with written_whole(out) as temporary:
            temporary.write_text(json.dumps({**figures, "settings": settings, "hardware": machine}, indent=1) + "\n")
