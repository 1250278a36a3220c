"""Score a checkpoint: `python tools/test.py CONFIG CHECKPOINT [options]`, for every model and benchmark here.

With `--images SOURCE` a model of tokens is scored on image files, which are tokenised on the way; docs/training.md.
"""

import argparse
import json
from collections.abc import Sequence

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process

from seitpp.engine import image_testing, launch
from seitpp.engine.checkpoint_sizes import follow_checkpoint
from seitpp.engine.checkpointing import scores_beside_average
from seitpp.engine.config_checks import check_run
from seitpp.engine.prediction_hook import use_prediction_hook
from seitpp.engine.stores import add_store_arguments, check_store_exists, find_test_stores
from seitpp.images.decoding import MAX_PIXELS
from seitpp.io.atomic_write import check_other_file, written_whole
from seitpp.io.command_line import run_tool
from seitpp.io.process_group import process_group_ended


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, in the shape of OpenMMLab's test tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint to score")
    parser.add_argument("--amp", action="store_true", help="test in bfloat16 (CPU and GPU)")
    parser.add_argument("--out", help="write the metrics to this JSON file")
    parser.add_argument("--out-preds", metavar="FILE", help="write a classifier's predictions to this .npz file")
    add_store_arguments(parser, val=False)
    parser.add_argument("--show-dir", help="(segmentation) draw truth and prediction over decoded tokens")
    images = parser.add_argument_group("image files in place of the config's test data")
    images.add_argument("--images", metavar="SOURCE", help="what tokenize_images.py takes: class folders, ...")
    images.add_argument("--split", help="sub-folder of SOURCE, or split of a config (default there: train)")
    images.add_argument("--root", metavar="DIR", help="folder of the paths in a list (default: that of the list)")
    images.add_argument("--classes", metavar="FILE", help="class names, one per line, in the order of their indices")
    images.add_argument(
        "--tokenizer",
        metavar="CONFIG_OR_STORE",
        help="a file of configs/tokenizers/, or a token store (default: what made the config's test store)",
    )
    images.add_argument(
        "--max-pixels", type=int, metavar="N", help=f"most pixels that an image may have (default: {MAX_PIXELS:,})"
    )
    images.add_argument("--workers", type=int, help="processes that decode images (default: 2)")
    images.add_argument(
        "--batch-size", type=int, help=f"images tokenised and scored at once (default: {image_testing.BATCH_SIZE})"
    )
    launch.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.images is None:
        for option in ("split", "root", "classes", "tokenizer", "max_pixels", "workers", "batch_size"):
            if getattr(args, option) is not None:
                parser.error(f"--{option.replace('_', '-')} means nothing without --images")
    return args


def image_options(args: argparse.Namespace) -> dict:
    """Return options of `use_images` that were given."""
    options = {
        "split": args.split,
        "root": args.root,
        "classes_file": args.classes,
        "tokenizer": args.tokenizer,
        "max_pixels": args.max_pixels,
        "num_workers": args.workers,
        "batch_size": args.batch_size,
    }
    return {name: value for name, value in options.items() if value is not None}


def test(args: argparse.Namespace) -> None:
    """Prepare the config, build the runner, and test."""
    for target in filter(None, (args.out, args.out_preds)):
        for source in (args.config, args.checkpoint):
            check_other_file(source, target)
    config = launch.load_config(args, stores=find_test_stores(args.store))
    check_run(config, "test")
    follow_checkpoint(config, args.checkpoint, keep=args.cfg_options or ())
    config.load_from = args.checkpoint
    config.resume = False
    if args.images is not None:
        image_testing.use_images(config, args.images, **image_options(args))
    if args.show_dir is not None:
        if "decode_head" not in config.model:
            raise ValueError("--show-dir draws label maps, and the config's model is no segmentor")
        hook = {"type": "seitpp.SegmentationImageHook", "folder": args.show_dir}
        config.custom_hooks = [*(config.get("custom_hooks") or []), hook]
    if args.out_preds is not None:
        use_prediction_hook(config, args.out_preds)
    if args.amp:
        # mmengine's loop turns any outer autocast off, and takes the device's default type where its own is on.
        config.test_cfg.fp16 = True
        torch.set_autocast_dtype(get_device(), torch.bfloat16)
    if args.images is None:
        check_store_exists(config, "test")
    runner = launch.build_runner(config, only_tests=True)
    metrics = {**runner.test(), **scores_beside_average(runner.message_hub, "test/")}
    if args.images is not None and (skipped := runner.test_dataloader.dataset.metainfo.get("skipped_files")):
        metrics["skipped_files"] = skipped
    if args.out and is_main_process():
        with written_whole(args.out) as file:
            file.write_text(json.dumps(metrics, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Test, print the metrics, and write them where `--out` says."""
    args = parse_args(argv)
    with process_group_ended():
        test(args)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
