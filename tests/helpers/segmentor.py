"""A small segmentor of tokens with the files that training leaves."""

from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image

from helpers.config_files import dump_config
from helpers.shrinking import build_model, shrink
from seitpp.benchmarking.synthetic import make_images, make_seg_store
from seitpp.tokenizers import PatchKMeans

NAMES = [f"class-{number}" for number in range(5)]
_LEAF = "configs/segmentation/upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"


def make_trained_segmentor(folder: Path) -> Path:
    """Write `config.py`, `model.pth` of random weights, stores of 16 x 16 codes of 32 x 32 pixels, and `images`."""
    kmeans = PatchKMeans(image_size=32, patch_size=2).describe()
    sizes = dict(codebook_size=256, code_dim=12, num_classes=5, tokenizer=kmeans)
    for split in ("train", "val"):
        make_seg_store(folder / "data/scenes-tokens" / split, 3, **sizes)
    cfg = shrink(Config.fromfile(Path(__file__).resolve().parents[2] / _LEAF), folder)
    cfg.model.test_cfg.keep_logits = True
    dump_config(cfg, folder / "config.py")
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    meta = {"dataset_meta": {"classes": NAMES, "palette": [[number, 0, 0] for number in range(5)]}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, folder / "model.pth")
    make_images(folder / "images", 2, 48, seed=5)
    with Image.open(folder / "images" / "0001.png") as image:
        image.resize((30, 50)).save(folder / "images" / "0001.png")
    return folder
