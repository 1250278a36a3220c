"""Configs for benchmarks of training steps: their data, or synthetic ones of the same sizes and formats."""

import argparse
import os.path as osp
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from seitpp.benchmarking.synthetic import use_random_networks, with_synthetic_data
from seitpp.engine.config_changes import fit_loaders, use_guards
from seitpp.engine.config_checks import check_run
from seitpp.engine.optim_wrapper import check_fused
from seitpp.engine.recipe_options import read_recipe
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import positive_number
from seitpp.io.config_file import dicts_in
from seitpp.io.config_options import add_options_argument, check_read_keys
from seitpp.io.devices import check_device

_CPU_BATCH = 8  # samples, where a CPU would take minutes for the batch of a recipe


def add_step_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of steps; the tool itself adds the name of its config, or of several."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=positive_number, help="CPU threads")
    parser.add_argument(
        "--batch-size",
        type=positive_number,
        help=f"samples per step; by default the config's, on a CPU at most {_CPU_BATCH}",
    )
    parser.add_argument(
        "--synthetic",
        nargs="?",
        const="",
        metavar="DIR",
        help="make data and frozen networks up, also where the config's exist; in DIR, where later runs find them",
    )
    parser.add_argument("--store", help="train on this token store in place of the config's")
    parser.add_argument("--images", type=positive_number, default=2048, help="samples of synthetic training data")
    parser.add_argument("--resident", action="store_true", help="hold the training data in memory, on the device")
    add_options_argument(parser)


@contextmanager
def step_config(args: argparse.Namespace) -> Iterator[Config]:
    """Yield the config with options applied, and with data as long as the context lasts; the log is silent meanwhile.

    Makes up data that are missing, and the weights of a TokenAdapt or a tokenizer; the model's are random in any case.
    """
    device = torch.device(check_device(args.device))
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if args.threads:
        torch.set_num_threads(args.threads)
    forbid_pickled_code()
    config = read_recipe(args)
    check_read_keys(config)
    check_run(config, "train")
    config.val_dataloader = config.test_dataloader = None
    own = config.train_dataloader.get("batch_size")
    if own is None:
        raise ValueError(
            f"{args.config} has no train_dataloader.batch_size, by which the samples of a step are counted"
        )
    config.train_dataloader.batch_size = args.batch_size or (min(own, _CPU_BATCH) if device.type == "cpu" else own)
    logger = MMLogger.get_instance("mmengine")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with tempfile.TemporaryDirectory() as folder:
            synthetic = args.synthetic is not None or not _has_data(config.train_dataloader)
            if synthetic:
                config = with_synthetic_data(config, args.synthetic or folder, args.images)
            use_random_networks(config, Path(folder), keep_existing=not synthetic)
            if args.resident:
                config.train_dataloader.dataset.device = args.device
            use_guards(config)
            check_fused(config)
            fit_loaders(config)
            yield config
    finally:
        logger.setLevel(level)


def _has_data(loader: Any) -> bool:
    named = (part for part in dicts_in(loader) if "store" in part or "data_root" in part)
    return all(osp.exists(osp.join(part.get("data_root", ""), part.get("store", ""))) for part in named)
