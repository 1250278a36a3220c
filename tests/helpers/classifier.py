"""A small classifier of tokens with the files that training leaves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from helpers.shrinking import build_model
from seitpp.benchmarking.synthetic import make_images
from seitpp.images.decoding import decode_image, pixels_of
from seitpp.images.resizing import fit_image
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans, Tokenizer, ViTVQGAN
from seitpp.tokenizers.encoding import encode_pixels

_STACK = {"dims": 16, "depth": 1, "num_heads": 2, "head_dims": 8, "mlp_dims": 16}
_CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")


@dataclass(frozen=True)
class TrainedClassifier:
    """Files of one classifier, whose weights are random.

    Attributes:
        config: Its config.
        checkpoint: Its weights and class names.
        images: Folder of PNG files, larger than the tokenizer takes.
        store: Their tokens.
        tokenizer: What made them, in evaluation mode.
    """

    config: Path
    checkpoint: Path
    images: Path
    store: Path
    tokenizer: Tokenizer


def make_trained_classifier(
    folder: Path,
    tokenizer: Tokenizer | None = None,
    output: str = "codes",
    num_images: int = 5,
    crop_size: int = 4,
) -> TrainedClassifier:
    """Write images, their tokens, and a classifier's config and checkpoint.

    Args:
        folder: Where to.
        tokenizer: By default k-means on patches of 2 x 2 pixels, 5 x 5 codes an image.
        output: What the classifier takes: `codes` or `embeddings`.
        num_images: Images, of which each has a class.
        crop_size: Tokens of the centre crop, which patches of 2 x 2 tokens cover.
    """
    tokenizer = (small_kmeans() if tokenizer is None else tokenizer).eval()
    images = make_images(folder / "images", num_images, size=24)
    store = write_store(folder / "store", images, tokenizer)
    config = folder / "classifier.py"
    Config(_config(store, tokenizer, output, crop_size), format_python_code=False).dump(config)
    torch.manual_seed(0)
    model = build_model(Config.fromfile(config))
    with torch.no_grad():  # scores that are worth comparing
        model.head.fc.weight.normal_()
    meta = {"epoch": 1, "dataset_meta": {"classes": list(_CLASSES)}}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "epoch_1.pth")
    return TrainedClassifier(config, folder / "epoch_1.pth", images, store, tokenizer)


def write_store(path: Path, images: Path, tokenizer: Tokenizer) -> Path:
    """Tokenise a folder of images, in the order of their names."""
    files = sorted(images.glob("*.png"))
    fitted = [
        fit_image(
            decode_image(file.read_bytes(), tokenizer.in_channels),
            tokenizer.image_size,
            tokenizer.resize_mode,
            rule=tokenizer.resize_rule,
        )
        for file in files
    ]
    pixels = torch.from_numpy(np.stack([pixels_of(image) for image in fitted]))
    codebook = tokenizer.codebook
    with StoreWriter(
        path,
        codebook_size=tokenizer.codebook_size,
        grid=tokenizer.grid,
        channels=tokenizer.channels,
        minimum=tokenizer.minimum,
        tokenizer=tokenizer.describe(),
        codebook=None if codebook is None else codebook.detach().numpy(),
        label_kind="class",
        classes=list(_CLASSES),
    ) as writer:
        writer.append(encode_pixels(tokenizer, pixels, "cpu", len(files)).numpy(), np.arange(len(files)) % 6)
    return path


def small_kmeans(in_channels: int = 3, codebook_size: int = 16) -> PatchKMeans:
    """K-means of random centres."""
    centres = np.random.default_rng(0).random((codebook_size, in_channels * 4)).astype(np.float32)
    return PatchKMeans(10, 2, in_channels, codebook=centres)


def small_vitvqgan(folder: Path) -> ViTVQGAN:
    """ViT-VQGAN of random weights, which lie in a file that stores can name."""
    torch.manual_seed(0)
    options = {"arch": {"encoder": _STACK, "decoder": _STACK}, "image_size": 20, "patch_size": 4}
    options |= {"codebook_size": 16, "code_dim": 8}
    torch.save({"state_dict": ViTVQGAN(**options).state_dict()}, folder / "tokenizer.pth")
    return ViTVQGAN(**options, checkpoint=folder / "tokenizer.pth")


def _config(store: Path, tokenizer: Tokenizer, output: str, crop_size: int) -> dict:
    channels, codebook = tokenizer.channels, tokenizer.codebook
    preprocessor = {"type": "seitpp.TokenDataPreprocessor", "crop_size": crop_size, "output": output}
    if codebook is None:
        preprocessor["channels"] = channels
    else:
        preprocessor |= {"codebook": str(store), "distance": tokenizer.distance}
    backbone = {
        "type": "seitpp.TokenViT",
        "arch": {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32},
        "grid_size": crop_size,
        "patch_size": 2,
        "out_type": "avg_featmap",
        "final_norm": False,
    }
    if output == "codes":
        backbone |= {"codebook_size": len(codebook), "code_dim": 8}
    else:  # SeiT's stem
        code_dim = channels if codebook is None else codebook.shape[1]
        backbone |= {"code_dim": code_dim, "patch_cfg": {"kernel_size": 4, "stride": 2, "padding": 1}}
    head = {"type": "LinearClsHead", "num_classes": len(_CLASSES), "in_channels": 16}
    model = {"type": "mmpretrain.ImageClassifier", "_scope_": "mmpretrain", "backbone": backbone, "head": head}
    return {
        "default_scope": "seitpp",
        "model": model,
        "data_preprocessor": preprocessor,
        "test_dataloader": {"dataset": {"type": "seitpp.TokenDataset", "store": str(store)}},
    }


def logits_of(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """What a classifier makes of tokens, step by step."""
    batch = model.data_preprocessor({"inputs": tokens, "sample_idx": torch.arange(len(tokens))}, training=False)
    with torch.no_grad():
        return model(batch["inputs"], mode="tensor")
