"""What the quickstart measured, for somebody who sees it for the first time: what is saved, its cost, its gain."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from seitpp.benchmarking.quickstart.digits import IMAGE_SIZE
from seitpp.storage import StoreReader

_CAPTION = (
    "bytes: per image, of pixels or codes; once: TokenAdapt per tokenizer, MTM per set of images; top-1: of {} "
    "held-out images, after training on {:,}"
)

Results = Mapping[str, Sequence[Mapping[str, float]]]


def results_table(out: Path, results: Results) -> Table:
    """Return the table of what `run_all` found, means and deviations over its seeds.

    Args:
        out: The quickstart's folder.
        results: By run its metrics, seed after seed.
    """
    train, val = StoreReader(out / "tokens" / "train"), StoreReader(out / "tokens" / "val")
    image_bytes, token_bytes = IMAGE_SIZE**2, train.section_bytes["tokens"] / len(train)
    pixels, tokens = f"{image_bytes}", f"{token_bytes:.0f} ({100 * token_bytes / image_bytes:.0f} %)"
    adapt, mtm = f"TokenAdapt {_seconds(results, 'tokenadapt')}", f"MTM {_seconds(results, 'mtm')}"

    table = Table(caption=_CAPTION.format(len(val), len(train)), caption_justify="left")
    table.add_column("trained on")
    for heading in ("bytes", "training", "before, once", "top-1"):
        table.add_column(heading, justify="right")

    def add(name: str, title: str, stored: str, before: str = "") -> None:
        table.add_row(title, stored, _seconds(results, name), before, _top1(results, name))

    add("pixels", "pixels", pixels)
    add("seit", "tokens: SeiT", tokens)
    add("seitpp", "+ TokenAdapt, ColorAdapt", tokens, adapt)
    add("finetune", "+ MTM: SeiT++", tokens, mtm)
    return table


def _seconds(results: Results, name: str) -> str:
    return f"{statistics.mean(one['train_seconds'] for one in results[name]):.0f} s"


def _top1(results: Results, name: str) -> str:
    values = [one["accuracy/top1"] for one in results[name]]
    spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} %"
