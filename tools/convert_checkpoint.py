"""Convert checkpoints of the SeiT++ release to ours, or ours to the release's layout.

python tools/convert_checkpoint.py mtm mtm_vitb.pth work_dirs/mtm_vitb.pth
python tools/convert_checkpoint.py mtm-classifier work_dirs/ours/epoch_100.pth release.pth --to-release
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from seitpp.checkpoint import load_checkpoint_file, shorten, state_dict_of
from seitpp.converters import LAYOUTS, from_release, to_release
from seitpp.files import written_whole


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", choices=sorted(LAYOUTS), help="what the checkpoint is")
    parser.add_argument("src", type=Path, metavar="SRC", help="checkpoint to read; tensors only, nothing in it is run")
    parser.add_argument("dst", type=Path, metavar="DST", help="checkpoint to write")
    parser.add_argument("--to-release", action="store_true", help="from ours to the release's layout")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one file; unknown and missing keys are errors, keys dropped on purpose are printed."""
    args = parse_args(argv)
    try:
        weights = state_dict_of(load_checkpoint_file(args.src), args.src)
        renamed, dropped = (to_release if args.to_release else from_release)(weights, args.layout)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"{args.src}: {error}") from error
    content = (
        {"model": renamed} if args.to_release else {"meta": {"converted_from": args.layout}, "state_dict": renamed}
    )
    with written_whole(args.dst) as temporary:
        torch.save(content, temporary)
    print(f"{args.dst}: {len(renamed)} tensors, {sum(value.numel() for value in renamed.values()):,} values")
    if dropped:
        print(f"dropped, as they have no counterpart: {shorten(dropped, 20)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
