"""Where the time of a config's training step goes: operators by the time that they take themselves.

    python tools/analysis_tools/profile_step.py configs/seitpp/mtm_vitb.py [--precision bfloat16] [--trace FILE]

Operators are sorted by their time on the GPU where there is one, else on the CPU. Data that are not there are made up,
and so are weights. `--trace` writes a timeline for chrome://tracing or ui.perfetto.dev. The profiler costs time of its
own, on the CPU above all: how long a step takes, tools/analysis_tools/benchmark_train.py tells.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from seitpp.benchmarking.configs import add_step_arguments, step_config
from seitpp.benchmarking.steps import TrainingStep, build_loader
from seitpp.benchmarking.timing import add_out_argument, show
from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import positive_number, run_tool


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config that tools/train.py takes")
    add_step_arguments(parser)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile what --compile of tools/train.py compiles")
    parser.add_argument(
        "--steps", type=positive_number, default=3, help="steps that are profiled, after as many others"
    )
    parser.add_argument("--rows", type=positive_number, default=25, help="operators in the table")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a timeline to this file, as JSON")
    add_out_argument(parser)
    return parser.parse_args(argv)


def operators_of(profiler: profile, steps: int) -> list[dict[str, Any]]:
    """Name, calls and milliseconds per step of every operator, the most expensive ones first."""
    found = [
        {
            "operator": event.key,
            "calls": event.count / steps,
            "cpu_ms": event.self_cpu_time_total / 1e3 / steps,
            "cuda_ms": event.self_device_time_total / 1e3 / steps,
        }
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CPU  # of which a kernel's time is a part
    ]
    return sorted(found, key=lambda row: (row["cuda_ms"], row["cpu_ms"]), reverse=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Profile and print the table."""
    args = parse_args(argv)
    with step_config(args) as config:
        on_gpu = torch.device(args.device).type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        step = TrainingStep(config, build_loader(config), args.device, args.precision, compiled=args.compile)
        step.run(args.steps)
        with profile(activities=activities) as profiler:
            phases = step.run(args.steps)
    rows = operators_of(profiler, args.steps)
    totals = {key: sum(row[key] for row in rows) for key in ("cpu_ms", "cuda_ms")}
    shown = ("cpu_ms", "cuda_ms") if on_gpu else ("cpu_ms",)
    table = Table("operator", "calls per step", *(part for key in shown for part in (f"self {key[:-3]}, ms", "share")))
    for row in rows[: args.rows]:
        cells = [part for key in shown for part in (f"{row[key]:.3f}", f"{row[key] / totals[key]:.1%}")]
        table.add_row(row["operator"], f"{row['calls']:g}", *cells)
    per_step = ", ".join(f"{name} {1e3 * seconds / args.steps:.1f}" for name, seconds in phases.items())
    settings = (
        f"{args.config}, {args.precision}, {'compiled' if args.compile else 'eager'}, {step.samples_per_step} of "
        f"{step.num_samples:,} samples per step; {sum(totals.values()):.1f} ms per step in {len(rows)} operators; with "
        f"the profiler, ms: {per_step}"
    )
    show([table], {"operators": rows, "totals": totals, "phases_s": phases}, settings, args.out, args.device)
    if args.trace is not None:
        with written_whole(args.trace) as temporary:
            profiler.export_chrome_trace(str(temporary))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
