"""Unite token stores of one tokenizer in a new one: `python tools/merge_stores.py STORE STORE [STORE ...] OUT`.

Codes stay as they are. The same class name is the same class; the tool says which classes are in one store alone.
Stores of different tokenizers are refused. With --resume an interrupted run continues.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import CODECS, DEFAULT_SHARD_BYTES, StoreReader, merge_stores
from seitpp.structures.class_names import partial_classes


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="folders of stores, in the order wanted")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the new store")
    parser.add_argument("--unlabelled", action="store_true", help="leave labels out")
    parser.add_argument("--codec", choices=sorted(CODECS), help="default: that of the stores, or bitpacked")
    parser.add_argument(
        "--shard-bytes",
        type=int,
        default=DEFAULT_SHARD_BYTES,
        metavar="N",
        help=f"size that a shard of the new store should not exceed (default: {DEFAULT_SHARD_BYTES})",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Merge, and say what was written."""
    args = parse_args(argv)
    readers = [StoreReader(store) for store in args.stores]
    options = {"codec": args.codec, "shard_bytes": args.shard_bytes, "resume": args.resume}
    with progress_bar("merging", unit="samples") as progress:
        merge_stores(readers, args.out, unlabelled=args.unlabelled, **options, progress=progress)
    named = [reader for reader in readers if reader.classes is not None]
    if not args.unlabelled and (
        said := partial_classes([one.classes for one in named], [str(one.path) for one in named])
    ):
        print(said)
    store = StoreReader(args.out)
    classes = "" if store.classes is None else f", {len(store.classes)} classes"
    print(f"{args.out}: {len(store)} samples{classes}, {store.num_bytes} bytes, content hash {store.content_hash}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
