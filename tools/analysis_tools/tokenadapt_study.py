"""How many images TokenAdapt needs: train with fewer and fewer, score on the same ones (compare the paper's Table A).

    python tools/analysis_tools/tokenadapt_study.py CONFIG --images 100 400 --seeds 3 --out work_dirs/tokenadapt_study

Trains CONFIG on all images and on the first ones of a random order, each as many steps, and scores the last checkpoint
on the validation images: per cent of tokens predicted exactly, beside the augmentation applied to the embeddings
(*direct*), the input's tokens (*copy*), and tokens decoded, augmented and encoded again (*reencode*), and PSNR of the
decoded tokens, beside that of the true ones. Runs that are
finished are not repeated.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from rich.console import Console

from seitpp.engine.launch import newest_checkpoint
from seitpp.io.command_line import run_tool
from seitpp.io.config_file import read_config
from seitpp.registry import DATASETS

console = Console(highlight=False)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of configs/tokenadapt/ that trains on images")
    parser.add_argument("--images", type=int, nargs="*", default=[100], help="numbers of images, beside all")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/tokenadapt_study"), help="folder of the runs")
    return parser.parse_args(argv)


def run_options(cfg: Config, num_images: int | None, total: int, seed: int) -> list[str]:
    """Options of one run: which images, and so many epochs that the steps stay as many."""
    options = [f"randomness.seed={seed}"]
    epochs = cfg.train_cfg.max_epochs
    if num_images is not None:
        chosen = np.random.default_rng(seed).permutation(total)[:num_images]
        batch = cfg.train_dataloader.batch_size
        epochs = round(epochs * (total // batch) / (num_images // batch))
        options += [
            f"train_dataloader.dataset.indices={sorted(chosen.tolist())}".replace(" ", ""),
            f"train_cfg.max_epochs={epochs}",
            f"param_scheduler.end={epochs}",
            f"param_scheduler.warmup={cfg.param_scheduler.warmup * epochs / cfg.train_cfg.max_epochs}",
            "default_hooks.logger.interval=1000",
        ]
    # Scored once, at the end, by tools/test.py.
    return [*options, f"train_cfg.val_interval={epochs + 1}", f"default_hooks.checkpoint.interval={epochs}"]


def score(config: str, cfg: Config, folder: Path, num_images: int | None, total: int, seed: int) -> dict[str, float]:
    """Train and score once, unless that was done before."""
    metrics = folder / "metrics.json"
    if not metrics.exists():
        options = run_options(cfg, num_images, total, seed)
        _run("tools/train.py", config, "--work-dir", folder, "--cfg-options", *options, log=folder / "train.log")
        checkpoint = newest_checkpoint(str(folder))
        _run("tools/test.py", config, checkpoint, "--work-dir", folder, "--out", metrics, log=folder / "test.log")
    return json.loads(metrics.read_text())


def _run(*command: object, log: Path) -> None:
    line = [str(part) for part in command]
    console.print(f"[bold]$ python {' '.join(line)[:150]}[/bold]", soft_wrap=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        if subprocess.run([sys.executable, *line], stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
            raise SystemExit(f"the command failed; its output is in {log}")


def markdown(results: dict[str, list[dict[str, float]]]) -> str:
    """Two tables, of exact tokens and of PSNR: a row a number of images."""
    first = next(iter(results.values()))
    names = [key.split("/")[1].removesuffix("_accuracy") for key in first[0] if key.endswith("_accuracy")]

    def mean(runs: list[dict[str, float]], key: str) -> str:
        values = [run[f"token_adapt/{key}"] for run in runs]
        spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    lines = []
    for score_name, baselines in (
        ("accuracy", ("direct", "copy", "reencode")),
        ("psnr", ("direct", "copy", "reencode", "tokenizer")),
    ):
        if f"token_adapt/{names[0]}_{score_name}" not in first[0]:
            continue  # a tokenizer that cannot decode
        unit = "tokens exact (%)" if score_name == "accuracy" else "PSNR (dB)"
        lines += [f"| {unit} | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
        for label, runs in results.items():
            lines.append(f"| {label} | {' | '.join(mean(runs, f'{name}_{score_name}') for name in names)} |")
        for kind in baselines:
            if f"token_adapt/{names[0]}_{score_name}_{kind}" not in first[0]:
                continue
            row = [f"{first[0][f'token_adapt/{name}_{score_name}_{kind}']:.1f}" for name in names]
            lines.append(f"| {kind} | {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all and print the tables."""
    args = parse_args(argv)
    cfg = read_config(args.config)
    if "dataset" not in (cfg.get("train_dataloader") or {}):
        raise ValueError(f"{args.config} has no data to train on; expected a file of configs/tokenadapt/")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        total = len(DATASETS.build(cfg.train_dataloader.dataset))
    batch = cfg.train_dataloader.batch_size
    wrong = [number for number in args.images if not batch <= number <= total]
    if wrong:
        raise SystemExit(f"--images {wrong[0]} is not between a batch, {batch}, and all images, {total}")
    results = {}
    for number in (None, *sorted(args.images, reverse=True)):
        label = f"TokenAdapt, {total if number is None else number:,} images"
        folder = args.out / ("all" if number is None else str(number))
        results[label] = [
            score(args.config, cfg, folder / f"seed{seed}", number, total, seed) for seed in range(args.seeds)
        ]
    console.print(markdown(results), markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
