"""Work folders as mmengine leaves them, without a training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seitpp.benchmarking.synthetic import make_store

START = "20260101_00000{}"


def classifier_config(dataset: dict, **options: Any) -> dict:
    """Config of a run of two epochs that trains a classifier on a data set."""
    model = {"type": "mmpretrain.ImageClassifier", "backbone": {"type": "X"}, "head": {"type": "LinearClsHead"}}
    return {
        "model": model,
        "train_cfg": {"max_epochs": 2},
        "train_dataloader": {"dataset": dataset},
        "custom_hooks": [],
        **options,
    }


def tokens_in(folder: Path, num_samples: int = 10, **dataset: Any) -> dict:
    """Config of a data set of a new token store `folder/train`."""
    if not (folder / "train").exists():
        make_store(folder / "train", num_samples, grid=(4, 4), codebook_size=16)
    return {"type": "seitpp.TokenDataset", "data_root": str(folder), "store": "train", **dataset}


def write_run(
    folder: Path, config: dict | None, scores: Sequence[float] = (), metrics: dict | None = None, *, key: str = "top1"
) -> Path:
    """Write the work folder of a run: an epoch per score, and what a test left."""
    log = folder / START.format(0) / "vis_data"
    log.mkdir(parents=True)
    lines = []
    for epoch, score in enumerate(scores, 1):
        lines.append({"lr": 0.1, "loss": 1.0, "epoch": epoch, "iter": 3 * epoch, "step": 3 * epoch})
        lines.append({f"accuracy/{key}": score, "step": epoch})
    if lines:
        (log / "scalars.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if config is not None:
        (log / "config.py").write_text("".join(f"{name} = {value!r}\n" for name, value in config.items()))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder
