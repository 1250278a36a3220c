"""What the quickstart trains: TokenAdapt and MTM, pixels, SeiT and SeiT++, and few labels with and without MTM."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seitpp.benchmarking.runs import run_in_order, train_and_test

FEW_LABELS = 0.1
# A tenth of the labels, equally many of each class, for as many iterations as all of them.
_FEW = ("--label-fraction", str(FEW_LABELS))
_AS_LONG = ("train_dataloader.dataset.keep_length=True",)
_MOST_WORKERS = 4  # no more runs than that wait for nothing


@dataclass(frozen=True)
class Run:
    """One training with its test.

    Attributes:
        title: What a newcomer calls it.
        config: Its config.
        needs: Names of the runs whose weights it reads.
        arguments: Of `tools/train.py`.
        options: Overrides of the config.
    """

    title: str
    config: str
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


TOKEN_ADAPT = "configs/tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py"
MTM = "configs/mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
_CLASSIFIER = "configs/seitpp/seitpp_vit-tiny-p2_{}_1xb64-60e_digits-tokens.py".format
# By work folder, the longest chain first.
RUNS = {
    "tokenadapt": Run("TokenAdapt", TOKEN_ADAPT),
    "pixels": Run("pixels", "configs/pixels/vit-tiny-p2_1xb64-60e_digits-pixels.py"),
    "mtm": Run("MTM", MTM, ("tokenadapt",)),
    "seit": Run("SeiT", "configs/seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"),
    "seitpp": Run("SeiT++", "configs/seitpp/seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py", ("tokenadapt",)),
    "finetune": Run("few labels, from MTM", _CLASSIFIER("mtm-100e-pre"), ("tokenadapt", "mtm"), _FEW, _AS_LONG),
    "scratch": Run("few labels, from scratch", _CLASSIFIER("codes"), ("tokenadapt",), _FEW, _AS_LONG),
}
# Trained once, with the config's seed, whatever the number of seeds.
_ONCE = ("tokenadapt",)


def run_all(out: Path, seeds: int) -> dict[str, list[dict[str, float]]]:
    """Train and test everything, as many runs at a time as there are cores, each with one thread.

    Args:
        out: Folder of the runs; those of a further seed are in `seedN/`.
        seeds: How often each is trained.

    Returns:
        By name of the run its metrics, seed after seed, and `train_seconds`.
    """
    tasks = {}
    for seed in range(seeds):
        for name, run in RUNS.items():
            if seed == 0 or name not in _ONCE:
                tasks[_task(name, seed)] = (
                    partial(_run, run, name, out, seed),
                    [_task(need, seed) for need in run.needs],
                )
    workers = min(_MOST_WORKERS, available_cores())
    found = run_in_order(tasks, workers)
    return {name: [found[_task(name, seed)] for seed in range(1 if name in _ONCE else seeds)] for name in RUNS}


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _task(name: str, seed: int) -> str:
    return name if seed == 0 or name in _ONCE else f"seed{seed}/{name}"


def _run(run: Run, name: str, out: Path, seed: int) -> Mapping[str, float]:
    options = [*run.options]
    if name not in _ONCE:
        options.insert(0, f"randomness.seed={seed}")
    if "mtm" in run.needs:
        options.append(f"model.backbone.init_cfg.checkpoint={out / _task('mtm', seed)}/epoch_100.pth")
    return train_and_test(run.config, out / _task(name, seed), options, run.arguments, parallel=True)
