"""What k-means on patches scores on the images of a tokenizer's config, with the same patches and number of codes.

    python tools/analysis_tools/patch_kmeans_baseline.py CONFIG

Fits `seitpp.PatchKMeans` on one epoch of the config's training images, as augmented there, and scores it on the
validation images with `ReconstructionMetric`: the number that a trained tokenizer should beat.
"""

import argparse
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

from seitpp.engine.config_checks import check_run
from seitpp.evaluation import ReconstructionMetric
from seitpp.io.command_line import counted_number, run_tool
from seitpp.io.config_file import read_config
from seitpp.io.progress import progress_bar
from seitpp.registry import MODELS
from seitpp.tokenizers import PatchKMeans


def load_images(cfg: Config, loader: str) -> Iterator[Tensor]:
    """Yield the batches (B, C, H, W) of one of the config's loaders, as its model would see them."""
    preprocessor = MODELS.build(cfg.data_preprocessor)
    batches = Runner.build_dataloader(dict(cfg[loader], num_workers=0, persistent_workers=False, pin_memory=False))
    with progress_bar(loader.replace("_", " ")) as advance:
        for number, batch in enumerate(batches, start=1):
            yield preprocessor(batch)["inputs"]
            advance(number, len(batches))


def measure(cfg: Config, seed: int) -> dict[str, float]:
    """Fit k-means and score it."""
    set_random_seed(seed)
    options = cfg.model.tokenizer
    tokenizer = PatchKMeans(options.image_size, options.patch_size)
    tokenizer.fit(torch.cat(list(load_images(cfg, "train_dataloader"))), options.codebook_size, seed)
    metric, number = ReconstructionMetric(), 0
    shared = {"pixel_range": tokenizer.pixel_range, "codebook_size": tokenizer.codebook_size}
    for images in load_images(cfg, "val_dataloader"):
        codes = tokenizer.encode(images)
        triples = zip(images, tokenizer.decode(codes), codes, strict=True)
        samples = [{"image": image, "reconstruction": again, "codes": own, **shared} for image, again, own in triples]
        metric.process({}, samples)
        number += len(images)
    return metric.evaluate(number)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of a tokenizer's training, with pixels in [0, 1]")
    parser.add_argument("--seed", type=counted_number, default=0, help="of the crops and of k-means (default: 0)")
    args = parser.parse_args(argv)
    cfg = read_config(args.config)
    check_run(cfg, "train")
    if "tokenizer" not in cfg.model:
        raise ValueError(f"{args.config} trains no tokenizer; expected a file of configs/tokenizers/")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        for name, value in measure(cfg, args.seed).items():
            print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
