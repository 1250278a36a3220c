"""Show a token store on one page: samples by class, use of codes, duplicates; and leaks between two stores.

python tools/visualization/browse_store.py STORE
python tools/visualization/browse_store.py TRAIN_STORE --against VAL_STORE     leaks of TRAIN in VAL, too

Writes `store.html`, which needs no other file. Two images are near-duplicates if their tokens differ at no more than
--max-distance of the positions: a copy with a few codes changed, not another crop, whose tokens all differ. Equal
images are always found. Near ones are all found among up to 4,096 different images, and beyond with the probability
--recall at the largest distance, more surely at smaller ones; the page and docs/analysis.md say how surely. Time and
memory grow with the number of images, not of pairs. A store whose tokenizer cannot be built again is shown as codes.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import StoreReader, is_release
from seitpp.storage.code_usage import count_codes
from seitpp.storage.duplicates import Duplicates, describe_found, find_duplicates
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.store_codes import add_code_usage
from seitpp.visualization.store_duplicates import add_duplicates, shown_distances
from seitpp.visualization.store_page import StorePage, add_summary
from seitpp.visualization.token_pictures import TokenPictures


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a store")
    parser.add_argument("--against", type=Path, metavar="STORE", help="another store, such as the validation data")
    parser.add_argument(
        "--max-distance",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="of the positions, at which near-duplicates may differ (default: 0.1)",
    )
    parser.add_argument(
        "--recall", type=_share, default=0.95, metavar="P", help="of pairs at that distance (default: 0.95)"
    )
    parser.add_argument("--checkpoint", type=Path, help="the tokenizer's weights (default: those that the store names)")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/browse_store"), help="folder to write to")
    parser.add_argument("--json", action="store_true", help="also print the pairs that were found as JSON")
    return parser.parse_args(argv)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to below 1")
    return value


def search(first: StorePage, second: StorePage | None, args: argparse.Namespace) -> dict[str, Any]:
    """Look for duplicates within the first store, or between both, and add them to its page; return what was found."""
    what = "duplicates" if second is None else "leaks"
    with progress_bar(f"looking for {what}") as progress:
        found: Duplicates = find_duplicates(
            first.reader, second and second.reader, args.max_distance, args.recall, progress
        )
    add_duplicates(found, first, second)
    return describe_found(found, shown_distances(found))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    args = parse_args(argv)
    page = HtmlPage(f"Token store {args.store.name}", str(args.store))
    paths = [args.store] if args.against is None else [args.store, args.against]
    if args.against is not None and args.against.resolve() == args.store.resolve():
        raise ValueError(
            f"--against is the store itself, {args.store}; duplicates within it are shown without --against"
        )
    pages = []
    for path in paths:
        if is_release(path):
            raise ValueError(f"{path} is a release file; import it first: tools/convert_store.py {path} STORE")
        reader = StoreReader(path)
        name = path.name if len({one.name for one in paths}) == len(paths) else str(path)
        pages.append(StorePage(page, reader, TokenPictures.of_store(reader, args.checkpoint), name))
    first, second = pages[0], pages[1] if len(pages) == 2 else None
    add_summary(page, pages)
    found = {}
    if second is not None:
        found["leaks"] = search(first, second, args)
    first.add_samples()
    with progress_bar("counting codes") as progress:
        usage = count_codes(first.reader, progress=progress)
    add_code_usage(first, usage)
    found["duplicates"] = search(first, None, args)
    page.write(args.out / "store.html")
    if args.json:
        print(json.dumps({"store": str(args.store), "against": args.against and str(args.against), **found}))
    else:
        print(args.out / "store.html")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
