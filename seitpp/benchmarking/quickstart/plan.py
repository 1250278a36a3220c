"""What the quickstart trains: TokenAdapt, MTM, and classifiers of pixels and of tokens, without and with these two."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seitpp.benchmarking.runs import available_cores, run_in_order, train_and_test

_MOST_WORKERS = 4  # more would wait for TokenAdapt and MTM


@dataclass(frozen=True)
class Run:
    """One training with its test.

    Attributes:
        title: Its name in pictures.
        config: File of its config.
        needs: Names of the runs whose weights it reads.
        all_seeds: Whether each seed has its own; else the first serves all.
    """

    title: str
    config: str
    needs: tuple[str, ...] = ()
    all_seeds: bool = True


TOKEN_ADAPT = "configs/tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py"
MTM = "configs/mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
# By work folder; the order keeps two workers busy to the end.
RUNS = {
    "tokenadapt": Run("TokenAdapt", TOKEN_ADAPT, all_seeds=False),
    "pixels": Run("pixels", "configs/pixels/vit-tiny-p2_1xb64-60e_digits-pixels.py"),
    "mtm": Run("MTM", MTM, ("tokenadapt",)),
    "seit": Run("SeiT", "configs/seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"),
    "seitpp": Run("SeiT++ w/o MTM", "configs/seitpp/seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py", ("tokenadapt",)),
    "finetune": Run(
        "SeiT++ w/ MTM",
        "configs/seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py",
        ("tokenadapt", "mtm"),
    ),
}
CLASSIFIERS = ("pixels", "seit", "seitpp", "finetune")


def run_all(out: Path, seeds: int) -> dict[str, list[Mapping[str, float]]]:
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
            if seed == 0 or run.all_seeds:
                needs = [_folder(need, seed) for need in run.needs]
                tasks[_folder(name, seed)] = (partial(_train, name, out, seed), needs)
    found = run_in_order(tasks, min(_MOST_WORKERS, available_cores()))
    return {
        name: [found[_folder(name, seed)] for seed in range(seeds if run.all_seeds else 1)]
        for name, run in RUNS.items()
    }


def _folder(name: str, seed: int) -> str:
    return f"seed{seed}/{name}" if seed and RUNS[name].all_seeds else name


def _train(name: str, out: Path, seed: int) -> Mapping[str, float]:
    run = RUNS[name]
    options = [f"randomness.seed={seed}"] if seed else []
    if seed and "mtm" in run.needs:
        options.append(f"model.backbone.init_cfg.checkpoint={out / _folder('mtm', seed)}/epoch_100.pth")
    return train_and_test(run.config, out / _folder(name, seed), options, parallel=True)
