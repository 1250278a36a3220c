"""Make the table of similar codes that Token-EDA replaces codes with, from any codebook.

python tools/build_synonyms.py CODEBOOK OUT.json [--count 8] [--distance {cosine,euclidean}]

A codebook is a store, a .npy file, or a torch file with one tensor. OUT.json is one object: key = code, value = the
nearest other codes, best first.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seitpp.io.atomic_write import check_other_file, written_whole
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import StoreReader
from seitpp.storage.code_table import tokenizer_distance
from seitpp.storage.side_files import dump_synonyms
from seitpp.tokenizers.codebook import load_codebook, nearest_neighbours


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codebook", type=Path, metavar="CODEBOOK", help="store, .npy file, or torch file of one tensor")
    parser.add_argument("out", type=Path, metavar="OUT", help="JSON file to write")
    parser.add_argument("--count", type=int, default=8, help="similar codes per code (default: 8)")
    parser.add_argument(
        "--distance",
        choices=["cosine", "euclidean"],
        help="which codes are near (default: the distance of the store's tokenizer, else cosine, as for SeiT's codes)",
    )
    return parser.parse_args(argv)


def stated_distance(path: Path) -> str:
    """Return the distance of a store's tokenizer; cosine where none is stated."""
    if not path.is_dir():
        return "cosine"
    try:
        return tokenizer_distance(StoreReader(path, allow_incomplete=True).header["tokenizer"], path)
    except ValueError:  # either distance makes a useful table
        return "cosine"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the codebook, find the neighbours, write the file."""
    args = parse_args(argv)
    check_other_file(args.codebook, args.out)
    codebook = load_codebook(args.codebook)
    distance = args.distance or stated_distance(args.codebook)
    with progress_bar("comparing codes", "codes") as progress:
        table = nearest_neighbours(codebook, args.count, distance, progress)
    with written_whole(args.out) as temporary:
        temporary.write_bytes(dump_synonyms(table))
    print(f"{args.out}: the {args.count} nearest of each of {len(table)} codes, distance {distance}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
