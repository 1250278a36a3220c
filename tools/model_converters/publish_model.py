"""Prepare a checkpoint to be given away: one set of weights, without the state of training, its hash in its name.

python tools/model_converters/publish_model.py work_dirs/mine/epoch_100.pth release/mine.pth
python tools/model_converters/publish_model.py work_dirs/mine/epoch_100.pth release/mine.safetensors --weights raw

writes `release/mine-12345678.pth`, whose name holds the first 8 digits of its SHA-256. Kept are the codebook, class
names, the identity of the tokenizer, the grid of tokens and the config's text; optimizer, schedules and logs are not.
The file is a checkpoint like any other: for test.py, the inferencers, and as what training starts from.
"""

import argparse
from collections.abc import Sequence

from seitpp.engine.publishing import publish
from seitpp.io.command_line import run_tool
from seitpp.io.text import shorten


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("in_file", metavar="IN", help="checkpoint; nothing in it is run")
    parser.add_argument("out_file", metavar="OUT", help="file to write, .pth or .safetensors, without the hash")
    parser.add_argument(
        "--weights",
        choices=["ema", "raw"],
        help="the moving average or the weights beside it (default: what test.py scores: the average if there is one)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, and say what is in it and what is not."""
    args = parse_args(argv)
    done = publish(args.in_file, args.out_file, args.weights)
    which = "the moving average" if done.weights == "ema" else "the weights themselves, not an average"
    print(f"{done.path}: {done.num_values:,} values, {done.num_bytes:,} bytes; {which}")
    print(f"SHA-256 {done.sha256}")
    classes = (done.meta.get("dataset_meta") or {}).get("classes")
    print(f"classes: {'not known' if classes is None else f'{len(classes)}, {shorten(map(str, classes), 5)}'}")
    print(f"kept beside the weights: {', '.join(done.meta)}")
    print(f"left out: {', '.join(done.dropped) or 'nothing'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
