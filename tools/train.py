"""Train a model: `python tools/train.py CONFIG [options]`; the same line on CPU and GPU, with or without a launcher."""

import argparse
from collections.abc import Sequence

from seitpp.engine import config_changes, launch, launchers, resuming
from seitpp.engine.config_checks import check_run
from seitpp.engine.stores import add_store_arguments, check_store_exists, find_stores
from seitpp.engine.subset_options import add_subset_arguments
from seitpp.io.command_line import run_tool
from seitpp.io.process_group import process_group_ended


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, in the shape of OpenMMLab's train tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="continue from the given checkpoint; without a path, from the newest one in the work folder",
    )
    parser.add_argument("--amp", action="store_true", help="train in bfloat16 (CPU and GPU)")
    parser.add_argument("--compile", action="store_true", help="use torch.compile, where it works")
    parser.add_argument("--no-validate", action="store_true", help="do not evaluate during training")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="let the learning rate follow processes x batch size x accumulation (our recipes do so by themselves)",
    )
    add_store_arguments(parser)
    parser.add_argument("--token-adapt", metavar="CHECKPOINT", help="TokenAdapt's weights in place of the config's")
    add_subset_arguments(parser)
    launch.add_common_arguments(parser)
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> None:
    """Prepare the config, build the runner, and train."""
    config = launch.load_config(args, stores=find_stores(args.store, args.val_store))
    check_run(config, "train")
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    elif args.store:
        check_store_exists(config, "val")
    if args.amp:
        config_changes.use_autocast(config)
    if args.compile and not config.get("compile"):
        config.compile = True
    if args.auto_scale_lr:
        if "base_batch_size" not in (config.get("auto_scale_lr") or {}):
            raise ValueError("--auto-scale-lr needs auto_scale_lr.base_batch_size in the config")
        config.auto_scale_lr.enable = True
    with launch.alone_in(config.work_dir, args.launcher):
        resuming.set_resume(config, args.resume)
        world_size = launchers.world_size_of(args.launcher)
        config_changes.scale_lr(config, world_size)
        config_changes.use_whole_steps(config, world_size)
        launch.build_runner(config).train()


def main(argv: Sequence[str] | None = None) -> int:
    """Train."""
    args = parse_args(argv)
    with process_group_ended():
        train(args)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
