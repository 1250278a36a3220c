"""The whole path in minutes on a CPU: images, tokenizer, store, TokenAdapt, MTM, classifiers, scores, pictures.

    bash tools/quickstart.sh

Every step after the store is the command that the full-size recipes use, on configs that differ in size alone. The
images are scikit-learn's handwritten digits (1,797 real ones, in its wheel); nothing is downloaded.
"""

import argparse
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.table import Table

from seitpp.benchmarking.runs import console, last_checkpoint, run_command, train_and_test
from seitpp.io.checkpoint import load_checkpoint_file, state_dict_of
from seitpp.io.command_line import run_tool
from seitpp.io.config_file import read_config
from seitpp.registry import MODELS
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import PatchKMeans, tokenizer_from_store
from seitpp.visualization.curves import read_scalars
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid

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


def load_images() -> tuple[torch.Tensor, np.ndarray, dict[str, np.ndarray]]:
    """Return digits (N, 1, 8, 8) in [0, 1], their labels, and which of them train and which (always the same) test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images * 255 / 16).round().float()[:, None] / 255  # as 8-bit files hold them
    order = np.random.default_rng(0).permutation(len(images))
    held_out = np.isin(np.arange(len(images)), order[:NUM_VAL])
    return images, digits.target, {"train": ~held_out, "val": held_out}


def write_data(images: torch.Tensor, labels: np.ndarray, splits: dict[str, np.ndarray]) -> None:
    """Write PNG files and lists of their classes, fit a tokenizer to the training images, and write the stores."""
    tokenizer = PatchKMeans(IMAGE_SIZE, PATCH_SIZE, in_channels=1).fit(images[splits["train"]], CODEBOOK_SIZE)
    for name, chosen in splits.items():
        for folder in (IMAGES / name, TOKENS / name):
            shutil.rmtree(folder, ignore_errors=True)
        (IMAGES / name).mkdir(parents=True)
        for number, image in enumerate((images[chosen, 0] * 255).round().byte().numpy()):
            Image.fromarray(image).save(IMAGES / name / f"{number:04d}.png")
        lines = [f"{number:04d}.png {label}\n" for number, label in enumerate(labels[chosen])]
        (IMAGES / f"{name}.txt").write_text("".join(lines))
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


def train_and_score(seed: int) -> dict[str, float]:
    """Pre-train, train the classifiers, and score all of them with one seed."""
    folder = OUT if seed == 0 else OUT / f"seed{seed}"
    options = [f"randomness.seed={seed}"]
    pretrained = train_and_test(MTM_CONFIG, folder / "mtm", options)
    scores = {"masked codes": pretrained["masked_code/accuracy"], "perplexity": pretrained["masked_code/perplexity"]}
    for name, (_, config) in CLASSIFIERS.items():
        start = [f"model.backbone.init_cfg.checkpoint={last_checkpoint(folder / 'mtm')}"] if name == "finetune" else []
        scores[name] = train_and_test(config, folder / name, [*options, *start])["accuracy/top1"]
    return scores


def draw_reconstructions(images: torch.Tensor, path: Path) -> None:
    """Draw held-out images, their decoded tokens, the masked input, and what MTM fills in."""
    store, count = StoreReader(TOKENS / "val"), len(images)
    tokenizer = tokenizer_from_store(store)
    config = read_config(MTM_CONFIG)
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
        "image": tokenizer.resize(images),
        "tokens, decoded": decoded,
        "masked input": decoded.masked_fill(hidden, 0.5),
        "MTM's reconstruction": tokenizer.decode(model.reconstruct(codes, masks)),
    }
    shown = [PictureRow(label, "", (pixels.clamp(0, 1) * 255).round().byte()) for label, pixels in rows.items()]
    labelled_grid([PicturePanel("", shown)], titles=False).save(path)


def draw_curves(path: Path) -> None:
    """Draw the training losses of MTM and of the classifiers, and the classifiers' scores on held-out images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6))
    pretrain, losses, scores = figure.subplots(1, 3)
    pretrain.set(title="MTM pre-training", xlabel="epoch", ylabel="loss (nats per hidden code)")
    losses.set(title="classifiers", xlabel="epoch", ylabel="loss")
    scores.set(title="held-out images", xlabel="epoch", ylabel="top-1 (%)")
    pretrain.plot(*read_scalars(OUT / "mtm")["loss"])
    pretrain.axhline(np.log(CODEBOOK_SIZE), color="gray", linestyle=":", label=f"uniform guess, ln {CODEBOOK_SIZE}")
    for name, (label, _) in CLASSIFIERS.items():
        logged = read_scalars(OUT / name)
        losses.plot(*logged["loss"], label=label.strip())
        scores.plot(*logged["accuracy/top1"], marker=".", label=label.strip())
    for axes in (pretrain, losses, scores):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def results_table(adapted: dict[str, float], results: Sequence[dict[str, float]]) -> Table:
    """Return what was stored and what was scored, over all seeds."""

    def shown(key: str, unit: str = "") -> str:
        values = [result[key] for result in results]
        spread = f" +- {statistics.stdev(values):.1f} ({len(values)} seeds)" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{unit}{spread}"

    train, val = StoreReader(TOKENS / "train"), StoreReader(TOKENS / "val")
    image_bytes, token_bytes = IMAGE_SIZE**2, train.section_bytes["tokens"] / len(train)
    labels_and_checksums = (train.section_bytes["labels"] + train.section_bytes["checksums"]) / len(train)
    commonest = np.bincount(train.read_all().ravel()).argmax()
    guessed = 100 * float((val.read_all() == commonest).mean())  # without a look at the image
    table = Table("", "", show_header=False)
    table.add_row("image bytes (8 x 8 grey)", str(image_bytes))
    table.add_row("stored bytes of its tokens", f"{token_bytes:.0f} ({100 * token_bytes / image_bytes:.0f} %)")
    table.add_row("  and of its label and checksum", f"{labels_and_checksums:.0f}")
    table.add_row("codes under an affine change right, TokenAdapt", f"{adapted['token_adapt/affine_accuracy']:.1f} %")
    table.add_row("  change of the embeddings instead", f"{adapted['token_adapt/affine_accuracy_direct']:.1f} %")
    table.add_row("masked codes predicted right", shown("masked codes", " %"))
    table.add_row("  always guessing the commonest code", f"{guessed:.1f} %")
    table.add_row(f"perplexity (a uniform guess has {CODEBOOK_SIZE})", shown("perplexity"))
    for name, (label, _) in CLASSIFIERS.items():
        table.add_row(label if label[0] == " " else f"top-1, {label}", shown(name, " %"))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Run every step and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=1, choices=range(1, 11), metavar="N", help="train N times and give the spread"
    )
    args = parser.parse_args(argv)
    start = time.perf_counter()
    images, labels, splits = load_images()
    write_data(images, labels, splits)
    rows, columns = StoreReader(TOKENS / "train").grid
    console.print(
        f"Tokenised {len(images)} digits into {TOKENS}: {rows} x {columns} codes of {CODEBOOK_SIZE} per image."
    )
    run_command("tools/inspect_store.py", "verify", TOKENS / "train", log=OUT / "verify.log")
    adapted = train_and_test(TOKEN_ADAPT_CONFIG, OUT / "tokenadapt")
    results = [train_and_score(seed) for seed in range(args.seeds)]
    draw_reconstructions(images[splits["val"]][:10], OUT / "reconstructions.png")
    draw_curves(OUT / "curves.png")
    console.print(results_table(adapted, results))
    console.print(f"Pictures: {OUT / 'reconstructions.png'}, {OUT / 'curves.png'}")
    console.print(f"Took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
