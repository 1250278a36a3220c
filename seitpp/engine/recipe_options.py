"""A config as a command line changes it: on other stores, on a part of the images, with other weights and values."""

import argparse
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from seitpp.engine.stores import find_stores, use_stores
from seitpp.engine.subset_options import use_subset
from seitpp.engine.weight_files import use_token_adapt
from seitpp.io.config_file import read_config
from seitpp.io.config_options import apply_options

Stores = tuple[str | None, str | None]


def read_recipe(
    args: argparse.Namespace, stores: Stores | None = None, tell: Callable[[str], None] | None = None
) -> Config:
    """Read the config that a tool was given, and apply those of these options that the tool has, in this order.

    `--store` and `--val-store`, `--fraction` and its like (which add to the work folder's name), `--token-adapt`, and
    `--cfg-options`, which have the last word.

    Args:
        args: What was parsed, with `config`.
        stores: Stores for training and for validation; by default those that the options name (`find_stores`).
        tell: Gets what `use_stores` has to say, sentence by sentence.
    """
    config = read_config(args.config)
    if stores is None:
        stores = find_stores(getattr(args, "store", None), getattr(args, "val_store", None))
    if stores[0] is not None:
        for note in use_stores(config, *stores):
            if tell is not None:
                tell(note)
    if hasattr(args, "fraction") and (suffix := use_subset(config, args)):
        config.work_dir = default_work_dir(config, args) + suffix
    if getattr(args, "token_adapt", None) is not None:
        use_token_adapt(config, args.token_adapt)
    apply_options(config, args.cfg_options)
    return config


def default_work_dir(config: Config, args: argparse.Namespace) -> str:
    """Return the folder of a run where no option names one: the config's, or `work_dirs/` and its name."""
    return config.get("work_dir") or str(Path("work_dirs") / Path(args.config).stem)
