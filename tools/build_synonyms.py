"""Make the table of similar codes that Token-EDA replaces codes with, from any codebook.

python tools/build_synonyms.py CODEBOOK OUT.json [--count 8] [--distance {cosine,euclidean}]

A codebook is a store, a .npy file, or a torch file with one tensor. OUT.json is one object: key = code, value = the
nearest other codes, best first.
"""

import argparse
import sys
from pathlib import Path

from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codebook", type=Path, metavar="CODEBOOK", help="store, .npy file, or torch file of one tensor")
    parser.add_argument("out", type=Path, metavar="OUT", help="JSON file to write")
    parser.add_argument("--count", type=int, default=8, help="similar codes of each code (default: 8)")
    parser.add_argument(
        "--distance",
        choices=["cosine", "euclidean"],
        help="which codes are near (default: what a store says of its tokenizer, else cosine, as for SeiT's codes)",
    )
    return parser.parse_args(argv)


def stated_distance(path: Path) -> str:
    """The distance of a store's tokenizer; cosine where none is stated."""
    from seitpp.storage import StoreReader
    from seitpp.storage.code_table import tokenizer_distance

    if not path.is_dir():
        return "cosine"
    try:
        return tokenizer_distance(StoreReader(path, allow_incomplete=True).header["tokenizer"], path)
    except ValueError:  # for codes this must be known; of synonyms each distance makes a useful table
        return "cosine"


def build(args: argparse.Namespace) -> None:
    """Read the codebook, find the neighbours, write the file."""
    from seitpp.augment.synonyms import nearest_neighbours
    from seitpp.io.files import check_other_file, written_whole
    from seitpp.storage.synonyms import dump_synonyms
    from seitpp.tokenizers.codebook import load_codebook

    check_other_file(args.codebook, args.out)
    codebook = load_codebook(args.codebook)
    distance = args.distance or stated_distance(args.codebook)
    with progress_bar("comparing codes", "codes") as progress:
        table = nearest_neighbours(codebook, args.count, distance, progress)
    with written_whole(args.out) as temporary:
        temporary.write_bytes(dump_synonyms(table))
    print(f"{args.out}: the {args.count} nearest of each of {len(table)} codes, distance {distance}")


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status, 0, or 1 after an error."""
    args = parse_args(argv)
    try:
        build(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
