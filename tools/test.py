"""Score a checkpoint: `python tools/test.py CONFIG CHECKPOINT [options]`, for every model and benchmark here."""

import argparse
import json
from collections.abc import Sequence

import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process

from seitpp.engine import launch
from seitpp.files import written_whole


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line in the shape of OpenMMLab's test tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint to score")
    parser.add_argument("--amp", action="store_true", help="test in bfloat16 (CPU and GPU)")
    parser.add_argument("--out", help="write the metrics to this JSON file")
    launch.add_common_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Test, print the metrics, and write them where `--out` says."""
    args = parse_args(argv)
    config = launch.load_config(args)
    config.load_from = args.checkpoint
    config.resume = False
    if args.amp:
        # mmengine's loop turns any outer autocast off, and takes the device's default type where its own is on.
        config.test_cfg.fp16 = True
        torch.set_autocast_dtype(get_device(), torch.bfloat16)
    metrics = launch.build_runner(config).test()
    if args.out and is_main_process():
        with written_whole(args.out) as file:
            file.write_text(json.dumps(metrics, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
