"""The whole path in minutes on a CPU: images, tokenizer, store, TokenAdapt, MTM, classifiers, scores, pictures.

    bash tools/quickstart.sh

Every step after the store is the command that the full-size recipes use, on configs that differ in size alone. The
images are scikit-learn's handwritten digits (1,797 real ones, in its wheel); nothing is downloaded.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from seitpp.engine.launch import newest_checkpoint
from seitpp.io.checkpoint import load_checkpoint_file, state_dict_of
from seitpp.io.command_line import run_tool
from seitpp.registry import MODELS, TOKENIZERS
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import tokenizer_from_store

OUT = Path("work_dirs/quickstart")
TOKENS = OUT / "tokens"
IMAGES = OUT / "images"
TOKEN_ADAPT_CONFIG = "configs/tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py"
MTM_CONFIG = "configs/mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
# Work folder and name of each classifier, and its config.
CLASSIFIERS = {
    "seit": ("SeiT", "configs/seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"),
    "seitpp": ("SeiT++ without MTM", "configs/seitpp/seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py"),
    "finetune": ("SeiT++ from MTM", "configs/seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py"),
    "scratch": ("  the same network without MTM", "configs/seitpp/seitpp_vit-tiny-p2_codes_1xb64-60e_digits-tokens.py"),
}

NUM_VAL = 600
IMAGE_SIZE, PATCH_SIZE, CODEBOOK_SIZE = 8, 2, 64

console = Console(highlight=False)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        choices=range(1, 11),
        metavar="N",
        help="repeat training with so many seeds and give the spread",
    )
    return parser.parse_args(argv)


def load_images() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Digits as (N, 1, 8, 8) in [0, 1], their labels, and which are held out (the same 600 every time)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images * 255 / 16).round().float()[:, None] / 255  # as 8-bit files hold them
    held_out = np.zeros(len(images), dtype=bool)
    held_out[np.random.default_rng(0).permutation(len(images))[:NUM_VAL]] = True
    return images, digits.target, held_out


def tokenise(images: torch.Tensor, labels: np.ndarray, held_out: np.ndarray) -> dict[str, Path]:
    """Fit the tokenizer on the training images and write both stores."""
    tokenizer = TOKENIZERS.build(
        dict(type="seitpp.PatchKMeans", image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, in_channels=1)
    ).fit(images[~held_out], CODEBOOK_SIZE)
    for name, chosen in (("train", ~held_out), ("val", held_out)):
        shutil.rmtree(TOKENS / name, ignore_errors=True)
        with StoreWriter(
            TOKENS / name,
            codebook_size=tokenizer.codebook_size,
            grid=tokenizer.grid,
            tokenizer={"name": "k-means on 2 x 2-pixel patches of the training digits", **tokenizer.describe()},
            codebook=tokenizer.codebook.numpy(),
            label_kind="class",
            classes=[str(digit) for digit in range(10)],
            source={"dataset": f"scikit-learn digits, {name}", "image_bytes": int(chosen.sum()) * IMAGE_SIZE**2},
        ) as writer:
            writer.append(tokenizer.tokenize(images[chosen]).numpy(), labels[chosen])
    return {"train": TOKENS / "train", "val": TOKENS / "val"}


def write_images(images: torch.Tensor, held_out: np.ndarray) -> None:
    """PNG files, from which TokenAdapt trains."""
    for name, chosen in (("train", ~held_out), ("val", held_out)):
        shutil.rmtree(IMAGES / name, ignore_errors=True)
        (IMAGES / name).mkdir(parents=True)
        for number, image in enumerate((images[chosen, 0] * 255).round().byte().numpy()):
            Image.fromarray(image).save(IMAGES / name / f"{number:04d}.png")


def run(command: list[str], log: Path) -> float:
    """Run one of the project's commands, showing its progress lines; the full output goes to `log`."""
    console.print(f"[bold]$ python {' '.join(command)}[/bold]", soft_wrap=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    shown = 0.0
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            match = re.search(r"(Epoch\((?:train|val|test)\).*)", line)
            scored = match and not match[1].startswith("Epoch(train)") and ":" in match[1].split("data_time")[0]
            if match and (scored or time.perf_counter() - shown > 3):
                shown = time.perf_counter()
                console.print("  " + re.sub(r"\s{2,}", "  ", match[1]), soft_wrap=True, markup=False)
    if process.returncode:
        console.print(log.read_text()[-3000:], markup=False)
        raise SystemExit(f"quickstart: the command above failed; its full output is in {log}")
    return time.perf_counter() - start


def train_token_adapt() -> dict[str, float]:
    """Train what augments the tokens, and score it on held-out images."""
    return score(OUT / "tokenadapt", TOKEN_ADAPT_CONFIG, [])


def train_and_score(seed: int) -> dict[str, float]:
    """Pre-train, train the classifiers, and score all of them with one seed."""
    folder = OUT if seed == 0 else OUT / f"seed{seed}"
    options = ["--cfg-options", f"randomness.seed={seed}"]
    pretrained = score(folder / "mtm", MTM_CONFIG, options)
    scores = {"masked codes": pretrained["masked_code/accuracy"], "perplexity": pretrained["masked_code/perplexity"]}
    for name, (_, config) in CLASSIFIERS.items():
        start = [f"model.backbone.init_cfg.checkpoint={last_checkpoint(folder / 'mtm')}"] if name == "finetune" else []
        scores[name] = score(folder / name, config, [*options, *start])["accuracy/top1"]
    return scores


def score(work_dir: Path, config: str, options: list[str]) -> dict[str, float]:
    """Train by a config, test the last checkpoint, and give the metrics."""
    run(["tools/train.py", config, "--work-dir", str(work_dir), *options], work_dir / "train.log")
    out = work_dir / "metrics.json"
    command = ["tools/test.py", config, str(last_checkpoint(work_dir)), "--work-dir", str(work_dir), "--out", str(out)]
    run(command, work_dir / "test.log")
    return json.loads(out.read_text())


def last_checkpoint(work_dir: Path) -> Path:
    """Checkpoint that training wrote last."""
    return Path(newest_checkpoint(str(work_dir)))


def draw_reconstructions(images: torch.Tensor, path: Path, count: int = 10) -> None:
    """Held-out images, their decoded tokens, the masked input, and what MTM fills in."""
    from matplotlib.figure import Figure
    from mmengine.config import Config

    store = StoreReader(TOKENS / "val")
    tokenizer = tokenizer_from_store(store)
    config = Config.fromfile(MTM_CONFIG)
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor)).eval()
    checkpoint = last_checkpoint(OUT / "mtm")
    model.load_state_dict(state_dict_of(load_checkpoint_file(checkpoint), checkpoint))
    codes = torch.from_numpy(store.read(np.arange(count))).long()
    batch = model.data_preprocessor({"inputs": codes, "sample_idx": torch.arange(count)})
    masks = model.eval_masks(batch["data_samples"], codes.device)
    decoded = tokenizer.decode(codes)
    hidden = masks.mask.view(count, 1, *model.backbone.patch_resolution).float()
    hidden = torch.nn.functional.interpolate(hidden, decoded.shape[-2:]).bool()
    rows = {
        "image": tokenizer.resize(images[:count]),
        "tokens, decoded": decoded,
        "masked input": decoded.masked_fill(hidden, 0.5),
        "MTM's reconstruction": tokenizer.decode(model.reconstruct(codes, masks)),
    }
    figure = Figure(figsize=(count, len(rows) * 1.15))
    for place, axes in enumerate(figure.subplots(len(rows), count).flat):
        row, column = divmod(place, count)
        axes.imshow(list(rows.values())[row][column, 0].clamp(0, 1), cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        if column == 0:
            axes.set_ylabel(list(rows)[row].replace(" ", "\n"), rotation=0, ha="right", va="center")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_curves(path: Path) -> None:
    """Training losses of MTM and of the classifiers, and the classifiers' scores on held-out images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6))
    pretrain, losses, scores = figure.subplots(1, 3)
    for axes, title, label in (
        (pretrain, "MTM pre-training", "loss (nats per hidden code)"),
        (losses, "classifiers", "loss"),
        (scores, "held-out images", "top-1 (%)"),
    ):
        axes.set(title=title, xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    pretrain.plot(*read_scalars(OUT / "mtm", "loss"))
    pretrain.axhline(np.log(CODEBOOK_SIZE), color="gray", linestyle=":", label=f"uniform guess, ln {CODEBOOK_SIZE}")
    pretrain.legend()
    for name, (label, _) in CLASSIFIERS.items():
        losses.plot(*read_scalars(OUT / name, "loss"), label=label.strip())
        scores.plot(*read_scalars(OUT / name, "accuracy/top1"), marker=".", label=label.strip())
    losses.legend()
    scores.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def read_scalars(work_dir: Path, key: str) -> tuple[list[float], list[float]]:
    """Epochs, with their fraction, and values of one logged number in the newest run of a work folder."""
    newest = max(work_dir.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    trained = [line for line in lines if "iter" in line]
    epochs_per_step = trained[-1]["epoch"] / trained[-1]["iter"]
    found = [
        (line["iter"] * epochs_per_step if "iter" in line else line["step"], line[key]) for line in lines if key in line
    ]
    return [epoch for epoch, _ in found], [value for _, value in found]


def commonest_code_accuracy(train: StoreReader, val: StoreReader) -> float:
    """Per cent of held-out codes that are the training set's commonest: the score of not looking at the image."""
    commonest = np.bincount(train.read_all().ravel()).argmax()
    return 100 * float((val.read_all() == commonest).mean())


def main(argv: Sequence[str] | None = None) -> int:
    """Run every step and print what came out."""
    args = parse_args(argv)
    start = time.perf_counter()
    images, labels, held_out = load_images()
    stores = tokenise(images, labels, held_out)
    store = StoreReader(stores["train"])
    console.print(
        f"Tokenised {len(images)} digits into {TOKENS}: {store.grid[0]} x {store.grid[1]} codes of "
        f"{store.codebook_size} per image.",
        soft_wrap=True,
    )
    run(["tools/inspect_store.py", "verify", str(stores["train"])], OUT / "verify.log")
    write_images(images, held_out)
    adapted = train_token_adapt()

    results = [train_and_score(seed) for seed in range(args.seeds)]
    draw_reconstructions(images[held_out], OUT / "reconstructions.png")
    draw_curves(OUT / "curves.png")

    def shown(key: str, unit: str = "") -> str:
        values = [result[key] for result in results]
        spread = f" +- {statistics.stdev(values):.1f} ({len(values)} seeds)" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{unit}{spread}"

    image_bytes, token_bytes = IMAGE_SIZE**2, store.section_bytes["tokens"] / len(store)
    labels_and_checksums = (store.section_bytes["labels"] + store.section_bytes["checksums"]) / len(store)
    table = Table("", "", show_header=False)
    table.add_row("image bytes (8 x 8 grey)", str(image_bytes))
    table.add_row("stored bytes of its tokens", f"{token_bytes:.0f} ({100 * token_bytes / image_bytes:.0f} %)")
    table.add_row("  and of its label and checksum", f"{labels_and_checksums:.0f}")
    table.add_row("codes under an affine change right, TokenAdapt", f"{adapted['token_adapt/affine_accuracy']:.1f} %")
    table.add_row("  change of the embeddings instead", f"{adapted['token_adapt/affine_accuracy_direct']:.1f} %")
    table.add_row("masked codes predicted right", shown("masked codes", " %"))
    baseline = commonest_code_accuracy(store, StoreReader(stores["val"]))
    table.add_row("  always guessing the commonest code", f"{baseline:.1f} %")
    table.add_row(f"perplexity (a uniform guess has {CODEBOOK_SIZE})", shown("perplexity"))
    for name, (label, _) in CLASSIFIERS.items():
        table.add_row(label if label[0] == " " else f"top-1, {label}", shown(name, " %"))
    console.print(table)
    console.print(f"Pictures: {OUT / 'reconstructions.png'}, {OUT / 'curves.png'}", soft_wrap=True)
    console.print(f"Took {time.perf_counter() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
