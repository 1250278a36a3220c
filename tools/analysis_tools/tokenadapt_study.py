"""How many images TokenAdapt needs: train with fewer and fewer, score on the same ones (compare the paper's Table A).

    python tools/analysis_tools/tokenadapt_study.py CONFIG --images 100 400 --seeds 3 --out work_dirs/tokenadapt_study

Trains CONFIG on all images and on the first ones of a random order, for as many steps each, and scores the last
checkpoint on the validation images: per cent of tokens predicted exactly, and PSNR of the decoded tokens. Beside them
stand the augmentation applied to the embeddings (*direct*), the input's tokens (*copy*), tokens decoded, augmented and
encoded again (*reencode*), and for PSNR the true tokens (*tokenizer*). Finished runs are not repeated.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope

from seitpp.benchmarking.runs import train_and_test
from seitpp.io.command_line import run_tool
from seitpp.io.config_file import read_config
from seitpp.io.text import markdown_table
from seitpp.registry import DATASETS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of configs/tokenadapt/ that trains on images")
    parser.add_argument("--images", type=int, nargs="*", default=[100], help="numbers of images, beside all")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/tokenadapt_study"), help="folder of the runs")
    return parser.parse_args(argv)


def run_options(cfg: Config, num_images: int | None, total: int, seed: int) -> list[str]:
    """Return the options of one run: which images, and so many epochs that the steps stay as many."""
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


def markdown(results: dict[str, list[dict[str, float]]]) -> str:
    """Return two tables, of exact tokens and of PSNR, with one row per number of images and one per baseline."""
    first = next(iter(results.values()))[0]
    names = [key.split("/")[1].removesuffix("_accuracy") for key in first if key.endswith("_accuracy")]
    tables = []
    for score, unit in (("accuracy", "tokens exact (%)"), ("psnr", "PSNR (dB)")):
        keys = [f"token_adapt/{name}_{score}" for name in names]
        if keys[0] not in first:
            continue  # a tokenizer that cannot decode
        rows = {label: [_mean([run[key] for run in runs]) for key in keys] for label, runs in results.items()}
        for kind in ("direct", "copy", "reencode", "tokenizer"):
            if f"{keys[0]}_{kind}" in first:
                rows[kind] = [f"{first[f'{key}_{kind}']:.1f}" for key in keys]
        tables.append(markdown_table([unit, *names], ([label, *cells] for label, cells in rows.items())))
    return "\n".join(tables)


def _mean(values: list[float]) -> str:
    spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run all and print the tables."""
    args = parse_args(argv)
    cfg = read_config(args.config)
    if "dataset" not in (cfg.get("train_dataloader") or {}):
        raise ValueError(f"{args.config} has no data to train on; expected a file of configs/tokenadapt/")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        total = len(DATASETS.build(cfg.train_dataloader.dataset))
    batch = cfg.train_dataloader.batch_size
    for number in args.images:
        if not batch <= number <= total:
            raise ValueError(f"--images {number} is not between a batch, {batch}, and all images, {total}")
    results = {}
    for number in (None, *sorted(args.images, reverse=True)):
        runs = []
        for seed in range(args.seeds):
            folder = args.out / ("all" if number is None else str(number)) / f"seed{seed}"
            if not (folder / "metrics.json").exists():
                train_and_test(args.config, folder, run_options(cfg, number, total, seed))
            runs.append(json.loads((folder / "metrics.json").read_text()))
        results[f"TokenAdapt, {total if number is None else number:,} images"] = runs
    print(markdown(results))


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
