"""Train on a part of the images: `--fraction`, `--images` and `--label-fraction` of tools/train.py.

The first two are the paper's smaller data (Tables 2, 6 and A): samples are drawn at random, and an epoch has as many
iterations as on all. The third is learning from few labels: equally many of each class, and shorter epochs.
"""

import argparse
from pathlib import PurePosixPath

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from seitpp.engine.weight_files import full_name, pretrained_parts
from seitpp.io.config_file import dicts_in
from seitpp.io.config_readers import keys_read

_OPTIONS = ("fraction", "images", "label_fraction")
_REPEATING = ("RepeatDataset", "ClassBalancedDataset")


def add_subset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a part of the training images."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--fraction",
        type=float,
        metavar="F",
        help="train on this share of the images for as many iterations, starting from the encoder of the same share; "
        "the work folder of 0.2 ends in -20pct",
    )
    group.add_argument("--images", type=int, metavar="N", help="the same with a number of images; 5000 ends in -5kimg")
    group.add_argument(
        "--label-fraction",
        type=float,
        metavar="F",
        help="train on this share of the labels, equally many of each class, starting from the config's encoder; "
        "the work folder of 0.01 ends in -1pct-labels",
    )


def use_subset(config: Config, args: argparse.Namespace) -> str:
    """Apply the options to a config: its training data, and the checkpoint that it starts from.

    Returns:
        What the name of the work folder ends in, such as `-20pct` or `-5kimg`; empty without one of the options.

    Raises:
        ValueError: The number is out of range, the config trains on a subset already, or it trains nothing.
    """
    name = next((name for name in _OPTIONS if getattr(args, name) is not None), None)
    if name is None:
        return ""
    value, option = getattr(args, name), f"--{name.replace('_', '-')}"
    if not (value >= 1 if name == "images" else 0 < value <= 1):
        expected = "a number of images from 1 on" if name == "images" else "a share of the images in (0, 1]"
        raise ValueError(f"{option} {value}: expected {expected}")
    loader = config.get("train_dataloader")
    if not loader:
        raise ValueError(f"{option} chooses training images, and {config.filename} trains nothing")
    parts = list(dicts_in(loader.dataset))  # of a wrapper, too
    if any(part.get("subset") or str(part.get("type")).endswith("SubsetDataset") for part in parts):
        raise ValueError(
            f"{option}: train_dataloader.dataset of {config.filename} is a subset already; remove it there, or leave "
            "the option out"
        )
    if repeats := [part.type for part in parts if str(part.get("type")).endswith(_REPEATING)]:
        raise ValueError(
            f"{option}: train_dataloader.dataset of {config.filename} is a {repeats[0]}, which repeats images, so that "
            "a part of it is no part of them; give the data set inside it a subset in the config"
        )
    size = {"count" if name == "images" else "fraction": value}
    loader.dataset = _part_of(loader.dataset, size, name == "label_fraction", option, config.get("default_scope"))
    if name == "label_fraction":
        return f"-{100 * value:g}pct-labels"
    suffix = f"-{100 * value:g}pct" if name == "fraction" else f"-{value}img"
    if name == "images" and value % 1000 == 0:
        suffix = f"-{value // 1000}kimg"
    _start_from_same_images(config, suffix)
    return suffix


def _part_of(dataset: ConfigDict, size: dict, class_balanced: bool, option: str, scope: str | None) -> ConfigDict:
    """Return the config of a part of a data set."""
    if "subset" in (keys_read(dataset, ("train_dataloader", "dataset"), scope) or ()):
        part = ConfigDict(dataset, subset=dict(**size, class_balanced=class_balanced))
        return part if class_balanced else ConfigDict(part, keep_length=True)
    if class_balanced:
        raise ValueError(f"{option} needs the labels of a seitpp.TokenDataset, and the config reads a {dataset.type}")
    return ConfigDict(type="seitpp.SubsetDataset", dataset=dataset, keep_length=True, **size)


def _start_from_same_images(config: Config, suffix: str) -> None:
    """Start from the encoder that was trained on the same part of the images, if it comes from `work_dirs/`."""
    for part in pretrained_parts(config.get("model")):
        path = PurePosixPath(part.init_cfg.checkpoint)
        if path.parts[0] == "work_dirs":
            folder = path.parent.with_name(full_name(path.parent.name) + suffix)
            part.init_cfg.checkpoint = str(folder / path.name)
            print_log(f"Starts from {part.init_cfg.checkpoint}, trained on the same part of the images.", "current")
