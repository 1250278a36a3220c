"""Score a checkpoint: `python tools/test.py CONFIG CHECKPOINT [options]`, for every model and benchmark here."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process

from seitpp.engine import launch


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line in the shape of OpenMMLab's test tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint to score")
    parser.add_argument("--out", help="write the metrics to this JSON file")
    launch.add_common_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Test, print the metrics, and write them where `--out` says."""
    args = parse_args(argv)
    config = launch.load_config(args)
    config.load_from = args.checkpoint
    config.resume = False
    metrics = launch.build_runner(config).test()
    if args.out and is_main_process():
        target = Path(args.out)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_text(json.dumps(metrics, indent=1) + "\n")
        os.replace(temporary, target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
