"""How fast a config trains, where a step's time goes, and what the model alone would do.

    python tools/analysis_tools/benchmark_train.py configs/seitpp/mtm_vitb.py [--device cuda] [--out FILE]

Candidates are the config's step in float32 and in bfloat16 (`--amp`), eager and compiled (`--compile`), and *plain*: a
straightforward implementation of the same step, with explicit attention, patches dropped by boolean masks and scores at
every place, eager, in float16 with a loss scale on a GPU and in bfloat16 on a CPU. Each takes turns end to end (batch,
augmentation, forward, backward, optimizer) and as the model alone, on one batch that is augmented and on the device
already. So do matrix products, whose rate is what the model's operations are compared with; an operation is a
multiplication or an addition, of forward and backward pass. Medians.

The last table computes from the fastest step what several such devices would do: each the same step, and the gradients'
exchange (each GPU sends and receives twice their bytes, in float32) hidden behind the backward pass, or added to it.

Data that are not there are made up (`--synthetic`), and so are weights. Nothing of a run that is no step is timed:
checkpoints, logs, validation.
"""

import argparse
import resource
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from rich.table import Table
from torch.utils.data import DataLoader

from seitpp.benchmarking.configs import add_step_arguments, step_config
from seitpp.benchmarking.steps import PHASES, TrainingStep, build_loader
from seitpp.benchmarking.timing import add_out_argument, matrix_product, measure, show
from seitpp.io.command_line import positive_number, run_tool

CANDIDATES: dict[str, dict[str, Any]] = {
    "plain": {"plain": True},
    "eager-float32": {"precision": "float32"},
    "eager-bfloat16": {"precision": "bfloat16"},
    "compiled-float32": {"precision": "float32", "compiled": True},
    "compiled-bfloat16": {"precision": "bfloat16", "compiled": True},
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config that tools/train.py takes")
    add_step_arguments(parser)
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--rounds", type=positive_number, default=5, help="turns of each; the median counts")
    parser.add_argument("--steps", type=positive_number, help="steps per turn; by default 10 on a GPU, 1 on a CPU")
    parser.add_argument("--gpus", type=positive_number, nargs="*", default=[8, 64], help="numbers to compute for")
    parser.add_argument("--link", type=positive_number, default=50, help="GB/s between GPUs, to compute with")
    add_out_argument(parser)
    return parser.parse_args(argv)


class Candidate:
    """A step that is timed, with what its turns told.

    Args:
        config: The config.
        loader: The training data.
        device: Where to run.
        **options: Of `TrainingStep`.
    """

    def __init__(self, config: Config, loader: DataLoader, device: str, **options: Any) -> None:
        self.on_gpu = torch.device(device).type == "cuda"
        if options.get("plain"):
            options["precision"] = "float16" if self.on_gpu else "bfloat16"
        self.precision: str = options["precision"]
        before = self._allocated()
        self.step = TrainingStep(config, loader, device, **options)
        self.step.run(1)  # which compiles, and makes the optimizer's state
        self.step.run_model(1)
        self._own_bytes = self._allocated() - before
        self.phases: list[dict[str, float]] = []
        self.peak_bytes = 0

    def _allocated(self) -> int:
        return torch.cuda.memory_allocated() if self.on_gpu else 0

    def turn(self, steps: int) -> None:
        """End to end."""
        others = self._allocated() - self._own_bytes
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.phases.append(self.step.run(steps))
        if self.on_gpu:
            self.peak_bytes = max(self.peak_bytes, torch.cuda.max_memory_allocated() - others)

    def split(self, steps: int) -> dict[str, float]:
        """Return median milliseconds of each phase of a step, of all turns but the one that warmed up."""
        return {phase: 1e3 * statistics.median(turn[phase] for turn in self.phases[1:]) / steps for phase in PHASES}


def build_candidates(
    config: Config, loader: DataLoader, args: argparse.Namespace
) -> Iterator[tuple[str, Candidate | str]]:
    """Yield each candidate by name, or why it does not run here."""
    for name in args.candidates:
        try:
            yield name, Candidate(config, loader, args.device, **CANDIDATES[name])
        except (RuntimeError, NotImplementedError) as error:  # out of memory, or no compiler
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            torch.cuda.empty_cache()  # does nothing where no GPU is in use
            yield name, reason


def figures_of(candidates: dict[str, Candidate], args: argparse.Namespace, steps: int) -> dict[str, Any]:
    """Time the candidates; what was measured of each, by name, and the rates of matrix products."""
    types = {candidate.precision: getattr(torch, candidate.precision) for candidate in candidates.values()}
    products = {name: matrix_product(args.device, dtype) for name, dtype in types.items()}
    runs: dict[str, Callable[[], object]] = {f"product, {name}": call for name, (call, _) in products.items()}
    for name, candidate in candidates.items():
        runs[name] = partial(candidate.turn, steps)
        runs[f"{name}, model alone"] = partial(candidate.step.run_model, steps)
    seconds = measure(runs, args.rounds, args.device)
    rates = {name: operations / seconds[f"product, {name}"] for name, (_, operations) in products.items()}
    counted = min(candidates, key="plain".__eq__)  # whose own detours do not count, if there is another
    flops = candidates[counted].step.flops_per_image()
    found = {}
    for name, candidate in candidates.items():
        images = steps * candidate.step.samples_per_step
        whole, alone = seconds[name], seconds[f"{name}, model alone"]
        found[name] = {
            "precision": candidate.precision,
            "images_per_s": images / whole,
            "model_images_per_s": images / alone,
            "end_to_end_to_model": whole / alone,
            "model_share_of_matrix_rate": flops * images / alone / rates[candidate.precision],
            "share_of_matrix_rate": flops * images / whole / rates[candidate.precision],
            "ms_per_step": candidate.split(steps),
            "peak_GB": candidate.peak_bytes / 1e9 if candidate.on_gpu else None,
            "times_plain": seconds["plain"] / whole if "plain" in candidates else None,
        }
    return {"candidates": found, "matrix_flops_per_s": rates, "flops_per_image": flops}


def computed_for(
    gpus: int, step: TrainingStep, images_per_s: float, config: Config, link: int
) -> dict[str, list[float]]:
    """What so many GPUs would do by arithmetic, none of it measured: images/s and hours of the run, best and worst.

    Args:
        gpus: How many.
        step: The step of one.
        images_per_s: What it does.
        config: Of the run, which says how long it is.
        link: GB/s that each GPU sends and receives.
    """
    weights = sum(weight.numel() for weight in step.model.parameters() if weight.requires_grad)
    exchange = 2 * (gpus - 1) / gpus * 4 * weights / (link * 1e9)
    samples, alone = gpus * step.samples_per_step, step.samples_per_step / images_per_s
    run = config.train_cfg
    steps = run.max_epochs * step.num_samples / samples if "max_epochs" in run else run.max_iters
    seconds = (alone, alone + exchange)
    return {"images_per_s": [samples / one for one in seconds], "hours": [steps * one / 3600 for one in seconds]}


def tables_of(figures: dict[str, Any]) -> list[Table]:
    """Return speeds, the split of a step, and what was computed of other numbers of GPUs."""
    speeds = Table(
        "step", "images/s", "times plain", "model alone, images/s", "end to end : alone", "of matrix rate", "peak GB"
    )
    split = Table("ms per step", *PHASES)
    for name, found in figures["candidates"].items():
        times, peak = found["times_plain"], found["peak_GB"]
        speeds.add_row(
            name,
            f"{found['images_per_s']:,.4g}",
            "" if times is None else f"{times:.2f}",
            f"{found['model_images_per_s']:,.4g}",
            f"{found['end_to_end_to_model']:.3f}",
            f"{found['share_of_matrix_rate']:.1%}",
            "" if peak is None else f"{peak:.2f}",
        )
        total = sum(found["ms_per_step"].values())
        split.add_row(name, *(f"{value:.2f} ({value / total:.0%})" for value in found["ms_per_step"].values()))
    computed = Table("computed, not measured", "images/s", "hours of the run")
    for gpus, ranges in figures["computed"].items():
        cells = (" to ".join(f"{value:,.4g}" for value in ranges[key]) for key in ("images_per_s", "hours"))
        computed.add_row(f"{gpus} such devices", *cells)
    return [speeds, split, computed]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables; status 1 if a candidate failed."""
    args = parse_args(argv)
    with step_config(args) as config:
        steps = args.steps or (10 if torch.device(args.device).type == "cuda" else 1)
        built = dict(build_candidates(config, build_loader(config), args))
        candidates = {name: one for name, one in built.items() if isinstance(one, Candidate)}
        failed = {name: reason for name, reason in built.items() if isinstance(reason, str)}
        if not candidates:
            raise RuntimeError(f"no candidate ran: {failed}")
        figures = figures_of(candidates, args, steps)
        fastest = max(candidates, key=lambda name: figures["candidates"][name]["images_per_s"])
        speed = figures["candidates"][fastest]["images_per_s"]
        figures["computed"] = {
            gpus: computed_for(gpus, candidates[fastest].step, speed, config, args.link) for gpus in args.gpus
        }
    one = candidates[fastest].step
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in figures["matrix_flops_per_s"].items())
    settings = (
        f"{args.config}, {one.samples_per_step} of {one.num_samples:,} samples per step, "
        f"{figures['flops_per_image'] / 1e9:.4g} GFLOP per image; matrix products, TFLOP/s: {rates}; {steps} steps per "
        f"turn, median of {args.rounds} turns; peak memory of the process "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )
    for name, reason in failed.items():
        print(f"{name} failed: {reason}")
    show(tables_of(figures), {**figures, "failed": failed}, settings, args.out, args.device)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
