"""What two predictors without a network score in semantic segmentation from tokens: numbers that a model must beat.

    python tools/analysis_tools/seg_baselines.py TRAIN_STORE VAL_STORE

`constant` predicts the class with the most training pixels everywhere. `per code` predicts, for every pixel under a
code, the class that most pixels under this code have in the training store; under codes that do not occur there, the
constant. Scores are those of mmseg's IoUMetric, in percent: pixels are added up over the whole validation store,
ignored ones left out, and classes that neither occur nor are predicted do not enter the mean.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from rich.console import Console
from rich.table import Table

from seitpp.datasets import TokenSegDataset
from seitpp.images.label_maps import IGNORE_INDEX
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.structures.class_names import class_difference
from seitpp.tokenizers.identity import check_same_tokenizer

_BATCH = 16


def count_pixels(dataset: TokenSegDataset, name: str = "counting") -> np.ndarray:
    """Count the pixels of each class under each code, (K, C) int64, without ignored ones; maps may be of any size."""
    info = dataset.metainfo
    num_classes = len(info["classes"])
    counts = np.zeros(info["codebook_size"] * num_classes, np.int64)
    with progress_bar(name, unit="samples") as advance:
        for start in range(0, len(dataset), _BATCH):
            stop = min(start + _BATCH, len(dataset))
            batch = dataset.__getitems__(range(start, stop))
            for codes, sample in zip(batch["inputs"].numpy(), batch["data_samples"], strict=True):
                labels = sample.gt_sem_seg.data[0].numpy()
                kept = labels != IGNORE_INDEX
                pairs = codes_of_pixels(codes, labels.shape)[kept] * num_classes + labels[kept]
                counts += np.bincount(pairs, minlength=len(counts))
            advance(stop, len(dataset))
    return counts.reshape(-1, num_classes)


def codes_of_pixels(codes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the code in whose cell each pixel's centre lies; codes (H, W) to int64 of the given height and width."""
    rows, columns = (
        (2 * np.arange(pixels) + 1) * cells // (2 * pixels) for pixels, cells in zip(size, codes.shape, strict=True)
    )
    return codes[rows[:, None], columns].astype(np.int64)


def scores(counts: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    """Score a class predicted for each code (K,) by mmseg's metric on counts of pixels (K, C).

    Returns:
        `mIoU`, `mAcc` and `aAcc` in percent, and `IoU` per class, None where it is not defined.
    """
    num_classes = counts.shape[1]
    confusion = np.zeros((num_classes, num_classes), np.int64)  # predicted class, true class
    np.add.at(confusion, prediction, counts)
    # In doubles: mmseg's own floats round sums beyond 2**24 pixels.
    intersect, predicted, true = (
        torch.from_numpy(area).double() for area in (np.diag(confusion).copy(), confusion.sum(1), confusion.sum(0))
    )
    metrics = IoUMetric.total_area_to_metrics(intersect, predicted + true - intersect, predicted, true)
    return {
        "mIoU": 100 * float(np.nanmean(metrics["IoU"])),
        "mAcc": 100 * float(np.nanmean(metrics["Acc"])),
        "aAcc": 100 * float(metrics["aAcc"]),
        "IoU": [None if np.isnan(value) else 100 * float(value) for value in metrics["IoU"]],
    }


def baselines(train: np.ndarray, val: np.ndarray) -> dict[str, dict[str, Any]]:
    """Score both predictors, from pixels of each class under each code (K, C) in either store.

    Returns:
        The `scores` of `constant`, with its `class`, and of `per_code`, with the `unseen_share` of validation pixels
        that lie under codes without a training pixel.
    """
    if not train.any() or not val.any():
        raise ValueError("all pixels of a store are ignored, so there is nothing to score")
    constant = int(train.sum(axis=0).argmax())
    seen = train.any(axis=1)
    return {
        "constant": {"class": constant, **scores(val, np.full(len(val), constant))},
        "per_code": {
            "unseen_share": float(val[~seen].sum() / val.sum()),
            **scores(val, np.where(seen, train.argmax(axis=1), constant)),
        },
    }


def require_same_kind(train: TokenSegDataset, val: TokenSegDataset) -> None:
    """Raise a `ValueError` if codes or classes of two stores do not mean the same."""
    one, other = train.metainfo, val.metainfo
    if difference := class_difference(one["classes"], other["classes"]):
        raise ValueError(f"{val.store_path} has other classes than {train.store_path}: {difference}")
    known = [{key: metainfo[key] for key in ("codebook_sha256", "codebook_size")} for metainfo in (other, one)]
    check_same_tokenizer(known[0], str(val.store_path), known[1], str(train.store_path))


def show(found: dict[str, Any]) -> None:
    """Print the scores side by side."""
    table = Table(title=f"{found['val']['store']}, percent")
    for column in ("", "constant", "per code"):
        table.add_column(column, justify="right" if column else "left")
    both = [found["constant"], found["per_code"]]
    for key in ("mIoU", "mAcc", "aAcc"):
        table.add_row(key, *(f"{one[key]:.2f}" for one in both))
    for index, name in enumerate(found["classes"]):
        values = [one["IoU"][index] for one in both]
        table.add_row(f"IoU {name}", *("-" if value is None else f"{value:.2f}" for value in values))
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 100).print(table)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", metavar="TRAIN_STORE", help="token store with label maps, to count in")
    parser.add_argument("val", metavar="VAL_STORE", help="token store with label maps, to score on")
    parser.add_argument("--preset", help="set whose class names mmseg knows, for stores without, such as ade20k")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the scores."""
    args = parse_args(argv)
    train, val = (TokenSegDataset(store, preset=args.preset) for store in (args.train, args.val))
    require_same_kind(train, val)
    found = {
        "train": {"store": args.train, "num_samples": len(train)},
        "val": {"store": args.val, "num_samples": len(val), "label_maps": val.metainfo.get("label_maps")},
        "classes": val.metainfo["classes"],
        **baselines(count_pixels(train, "training store"), count_pixels(val, "validation store")),
    }
    if args.json:
        print(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
