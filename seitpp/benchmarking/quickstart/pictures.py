"""What the quickstart did as pictures: the steps of the method on a few held-out digits, and the curves of all runs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seitpp.benchmarking.quickstart.digits import CODEBOOK_SIZE, IMAGE_SIZE, load_images
from seitpp.benchmarking.quickstart.plan import CLASSIFIERS, MTM, RUNS, TOKEN_ADAPT
from seitpp.benchmarking.runs import last_checkpoint
from seitpp.storage import StoreReader
from seitpp.tokenizers import tokenizer_from_store
from seitpp.visualization.augmentations import load_token_adapt
from seitpp.visualization.curves import read_scalars
from seitpp.visualization.filled_in import load_mtm
from seitpp.visualization.method_steps import method_steps
from seitpp.visualization.step_picture import step_picture

_SHOWN = (0, 2, 3, 6)  # held-out digits of as many shapes: 2, 3, 5, 6


def draw_method(out: Path, path: Path, trained: bool) -> None:
    """Draw a few held-out digits and their tokens, and if `trained` what TokenAdapt and MTM make of them."""
    store = StoreReader(out / "tokens" / "val")
    tokenizer = tokenizer_from_store(store)
    networks = {}
    if trained:
        weights = last_checkpoint(out / "tokenadapt")
        networks["token_adapt"] = load_token_adapt(TOKEN_ADAPT, weights, store, tokenizer)
        networks["mtm"] = load_mtm(MTM, last_checkpoint(out / "mtm"))
    sizes = (IMAGE_SIZE**2, store.section_bytes["tokens"] / len(store))
    steps = method_steps(tokenizer, _held_out_images()[list(_SHOWN)], sizes, **networks)
    step_picture(steps).save(path, optimize=True)


def _held_out_images() -> Tensor:
    images, _, splits = load_images()
    return (images[splits["val"]] * 255).round().to(torch.uint8)


def draw_curves(out: Path, path: Path) -> None:
    """Draw the training losses of MTM and of the classifiers, and the classifiers' scores on held-out images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6))
    pretrain, losses, scores = figure.subplots(1, 3)
    pretrain.set(title="MTM pre-training", xlabel="epoch", ylabel="loss (nats per hidden code)")
    losses.set(title="classifiers", xlabel="epoch", ylabel="loss")
    scores.set(title="held-out images", xlabel="epoch", ylabel="top-1 (%)")
    pretrain.plot(*read_scalars(out / "mtm")["loss"])
    pretrain.axhline(np.log(CODEBOOK_SIZE), color="gray", linestyle=":", label=f"uniform guess, ln {CODEBOOK_SIZE}")
    for name in CLASSIFIERS:
        logged = read_scalars(out / name)
        losses.plot(*logged["loss"], label=RUNS[name].title)
        scores.plot(*logged["accuracy/top1"], marker=".", label=RUNS[name].title)
    for axes in (pretrain, losses, scores):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
