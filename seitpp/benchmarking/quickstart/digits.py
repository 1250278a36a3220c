"""scikit-learn's handwritten digits, in its wheel, as image files, lists of classes and token stores."""

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans

IMAGE_SIZE, PATCH_SIZE, CODEBOOK_SIZE = 8, 2, 64
NUM_TEST = 600


def load_images() -> tuple[Tensor, np.ndarray, dict[str, np.ndarray]]:
    """Return digits (N, 1, 8, 8) in [0, 1], labels (N,), and by split, the same every time, which they are, (N,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images * 255 / 16).round().float()[:, None] / 255  # as 8-bit files hold them
    order = np.random.default_rng(0).permutation(len(images))
    held_out = np.isin(np.arange(len(images)), order[:NUM_TEST])
    return images, digits.target, {"train": ~held_out, "val": held_out}


def write_digits(folder: Path) -> None:
    """Write `images/`, PNG files with lists of classes, and `tokens/`, stores of a tokenizer fitted to `train`."""
    images, labels, splits = load_images()
    tokenizer = PatchKMeans(IMAGE_SIZE, PATCH_SIZE, in_channels=1).fit(images[splits["train"]], CODEBOOK_SIZE)
    for name, chosen in splits.items():
        pictures, store = folder / "images" / name, folder / "tokens" / name
        for old in (pictures, store):
            shutil.rmtree(old, ignore_errors=True)
        pictures.mkdir(parents=True)
        for number, image in enumerate((images[chosen, 0] * 255).round().byte().numpy()):
            Image.fromarray(image).save(pictures / f"{number:04d}.png")
        lines = [f"{number:04d}.png {label}\n" for number, label in enumerate(labels[chosen])]
        pictures.with_suffix(".txt").write_text("".join(lines))
        with StoreWriter(
            store,
            codebook_size=tokenizer.codebook_size,
            grid=tokenizer.grid,
            tokenizer={"name": "k-means on 2 x 2-pixel patches of the training digits", **tokenizer.describe()},
            codebook=tokenizer.codebook.numpy(),
            label_kind="class",
            classes=[str(digit) for digit in range(10)],
            source={"dataset": f"scikit-learn digits, {name}", "image_bytes": int(chosen.sum()) * IMAGE_SIZE**2},
        ) as writer:
            writer.append(tokenizer.tokenize(images[chosen]).numpy(), labels[chosen])
