"""Cut a store down to the codes in use, map it back, or find out which codes a smaller codebook was taken from.

python tools/remap_codes.py subset STORE OUT [--min-count N | --table TABLE.npy] [--nearest [--distance cosine]]
python tools/remap_codes.py restore SUBSET OUT [--codebook FULL_CODEBOOK]
python tools/remap_codes.py match SUBSET_CODEBOOK FULL_CODEBOOK TABLE.npy

A codebook is a store, a .npy file, or a torch file with one tensor. Code i of a subset is code TABLE[i] of the
original.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seitpp.io.atomic_write import check_other_file, written_whole
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.io.untrusted import read_npy
from seitpp.storage import CODECS, StoreReader, codes_in_use, match_rows, restore_store, subset_store
from seitpp.storage.code_table import tokenizer_distance
from seitpp.storage.codecs import MAX_CODEBOOK_SIZE
from seitpp.tokenizers.codebook import load_codebook


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; options that contradict each other end the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    stores = argparse.ArgumentParser(add_help=False)
    stores.add_argument("src", type=Path, metavar="STORE", help="folder of the store to read")
    stores.add_argument("dst", type=Path, metavar="OUT", help="folder of the new store")
    stores.add_argument("--codec", choices=sorted(CODECS), default="bitpacked", help="codec of the new store")
    stores.add_argument("--resume", action="store_true", help="continue where an interrupted run stopped")
    subset = actions.add_parser("subset", parents=[stores], help="keep the codes in use, the most frequent first")
    which = subset.add_mutually_exclusive_group()
    which.add_argument("--min-count", type=int, default=1, help="occurrences that a code needs to be kept (default: 1)")
    which.add_argument("--table", type=Path, metavar="FILE", help=".npy file of the codes to keep, in their new order")
    subset.add_argument("--nearest", action="store_true", help="replace other codes by the nearest kept one")
    subset.add_argument(
        "--distance", choices=["cosine", "euclidean"], help="for --nearest (default: what the store states)"
    )
    restore = actions.add_parser("restore", parents=[stores], help="give the codes their original numbers again")
    restore.add_argument("--codebook", type=Path, metavar="FILE", help="the original codebook, to be kept in the store")
    match = actions.add_parser("match", help="find the rows of a codebook that a smaller one holds")
    match.add_argument("subset", type=Path, metavar="SUBSET_CODEBOOK")
    match.add_argument("full", type=Path, metavar="FULL_CODEBOOK")
    match.add_argument("table", type=Path, metavar="TABLE", help="where to write the table, a .npy file")
    args = parser.parse_args(argv)
    if args.action == "subset" and args.distance and not args.nearest:
        parser.error("--distance belongs to --nearest")
    return args


def subset(args: argparse.Namespace) -> None:
    """Write the subset of a store."""
    reader, distance = StoreReader(args.src), args.distance
    if args.nearest and distance is None and reader.codebook is not None:
        distance = tokenizer_distance(reader.header["tokenizer"], args.src)
    if args.table is not None:
        table = read_npy(args.table, "table of codes", at_most=8 * MAX_CODEBOOK_SIZE + 4096)
    else:
        with progress_bar("counting codes") as progress:
            table = codes_in_use(reader, args.min_count, progress)
    options = {"nearest": args.nearest, "distance": distance, "codec": args.codec, "resume": args.resume}
    with progress_bar("renumbering") as progress:
        subset_store(reader, args.dst, table, **options, progress=progress)
    replaced = f", others replaced by the nearest one, distance {distance}" if args.nearest else ""
    print(f"{len(table)} of {reader.codebook_size} codes kept{replaced}")


def restore(args: argparse.Namespace) -> None:
    """Write a subset with its original codes."""
    codebook = None if args.codebook is None else load_codebook(args.codebook)
    options = {"codec": args.codec, "resume": args.resume}
    with progress_bar("renumbering") as progress:
        restore_store(StoreReader(args.src), args.dst, codebook, **options, progress=progress)


def match(args: argparse.Namespace) -> None:
    """Write the table from two codebooks, and say how sure it is."""
    for codebook in (args.subset, args.full):
        check_other_file(codebook, args.table)
    table, exact, cosines = match_rows(load_codebook(args.subset), load_codebook(args.full))
    with written_whole(args.table) as temporary, temporary.open("wb") as file:
        np.save(file, table, allow_pickle=False)
    worst = int(np.argmin(cosines))
    print(
        f"{args.table}: {exact.sum()} of {len(table)} rows are equal; the lowest cosine is {cosines[worst]:.6f}, of "
        f"row {worst} with code {table[worst]}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the action, and say what was written."""
    args = parse_args(argv)
    if args.action == "match":
        match(args)
        return
    check_other_file(args.src, args.dst)
    {"subset": subset, "restore": restore}[args.action](args)
    store = StoreReader(args.dst)
    print(f"{args.dst}: {len(store)} samples, {store.num_bytes} bytes, content hash {store.content_hash}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
