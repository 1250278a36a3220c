"""Show, verify or measure a token store, or a published release file.

python tools/inspect_store.py info STORE
python tools/inspect_store.py verify STORE     exit status: 0 sound, 1 problems, 2 not a store
python tools/inspect_store.py stats STORE

`stats` bounds what a codec can reach. `entropy` is of order 0, over all codes. `held out order 0` and `conditional`
(given the left and the upper neighbour) are fitted to the first half of at most 4,096 evenly spaced samples and
measured on the second half. Of a store with label maps, `stats` also counts the pixels per class; `share` is the share
of the pixels that are not ignored. Tables name the tokenizer, shorten hashes, and count the samples of the first
classes; `--json` has all in full.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from seitpp.images.label_maps import label_histogram
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.io.text import cut, shorten
from seitpp.storage import NotAStoreError, SeitRelease, StoreReader, is_release, open_source, store_stats
from seitpp.storage.stats import class_counts
from seitpp.storage.tokenizer_entry import tokenizer_name

_HASH = re.compile(r"\b[0-9a-f]{16,}\b")
_MOST_CLASSES = 12  # in a table


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; options that contradict each other end the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["info", "verify", "stats"])
    parser.add_argument("store", type=Path, help="folder of a store, or NAME-token.data.bin.gz (info and stats)")
    parser.add_argument(
        "--grid", type=int, nargs=2, metavar=("H", "W"), help="codes per image in a release file (default: 32 32)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.grid is not None and not is_release(args.store):
        parser.error("--grid belongs to a release file; a store knows its own")
    return args


def info(source: StoreReader | SeitRelease) -> dict[str, Any]:
    """Return what a store or release holds and what it costs, without reading tokens."""
    header = source.header if isinstance(source, StoreReader) else None
    found = {
        "format": f"token store, version {header['version']}" if header else "SeiT release",
        "num_samples": len(source),
        "grid": list(source.grid),
        "channels": source.channels,
        "values": [source.minimum, source.minimum + source.codebook_size - 1],
        "codebook_size": source.codebook_size if header else f"up to {source.codebook_size}",
        "label_kind": header["labels"]["kind"] if header else "none" if source.labels is None else "class",
        **class_counts(source),
        "samples_per_class": samples_per_class(source),
        "num_bytes": source.num_bytes,
        "bytes_per_image": source.num_bytes / len(source),
        "token_bytes_per_image": source.section_bytes["tokens"] / len(source),
        "table_bytes_per_image": source.section_bytes["tables"] / len(source),
        "index_bytes_per_image": source.section_bytes["index"] / len(source),
    }
    if header:
        named = ("tokenizer", "codebook", "code_table", "codec", "complete", "source")
        found |= {name: header.get(name) for name in named}
        found |= {"num_shards": len(header["shards"]), "content_hash": source.content_hash}
    return found


def samples_per_class(source: StoreReader | SeitRelease) -> dict[str, int] | None:
    """Count the samples of each class by its name; None where there are no names or no labels."""
    if not source.classes or source.labels is None:
        return None
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return dict(zip(source.classes, counts, strict=True))


def stats(source: StoreReader | SeitRelease) -> dict[str, Any]:
    """Return the entries of `store_stats`, and `label_histogram` under `label_maps`; reads everything."""
    with progress_bar("counting codes") as progress:
        found = {**store_stats(source, progress), "samples_per_class": samples_per_class(source)}
    if isinstance(source, StoreReader):
        found["tokenizer"] = source.header["tokenizer"]
    if isinstance(source, StoreReader) and source.header["labels"]["kind"] == "segmentation":
        with progress_bar("counting labels", unit="label maps") as progress:
            found["label_maps"] = label_histogram(source, progress)
    return found


def verify(source: StoreReader | SeitRelease) -> dict[str, Any]:
    """Return the problems of a store, one line each, under `problems`."""
    if isinstance(source, SeitRelease):
        raise NotAStoreError(f"{source.data_path} is a release file; verify takes the folder of a store")
    with progress_bar("verifying") as progress:
        problems = source.verify(progress)
    if not source.header["complete"]:
        problems.append(f"{source.path} is incomplete: {len(source)} samples are committed, run its writer again")
    return {"num_samples": len(source), "problems": problems}


def show(found: dict[str, Any]) -> None:
    """Print a table of names and values, and one of the classes of label maps."""
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    label_maps = found.pop("label_maps", None)
    table = Table(show_header=False, box=None)
    for key, value in found.items():
        table.add_row(key.replace("_", " "), _for_people(key, value))
    console.print(table)
    if label_maps is None:
        return
    classes = Table(box=None)
    for column in ("class", "name", "pixels", "share", "images"):
        classes.add_column(column, justify="left" if column == "name" else "right")
    for row in label_maps["classes"]:
        name, share = "-" if row["name"] is None else row["name"], f"{row['share']:.2%}"
        classes.add_row(str(row["class"]), name, f"{row['pixels']:,}", share, f"{row['images']:,}")
    console.print(classes)
    console.print(f"pixels ignored: {label_maps['ignored_pixels']:,} ({label_maps['ignored_share']:.2%})")


def _for_people(key: str, value: Any) -> str:
    """Return an entry as a table shows it: the tokenizer by its name, few of many classes, the beginning of hashes."""
    if key == "tokenizer" and value:
        return tokenizer_name(value)
    if key == "samples_per_class" and value:
        return shorten((f"{cut(name, 40)}: {count:,}" for name, count in value.items()), _MOST_CLASSES)
    if value is None:
        return "-"
    shown = f"{value:.4f}" if isinstance(value, float) else json.dumps(value) if isinstance(value, dict) else str(value)
    return _HASH.sub(lambda found: f"{found[0][:12]}...", shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status that the module docstring lists."""
    args = parse_args(argv)
    try:
        source = open_source(args.store, grid=tuple(args.grid or (32, 32)), allow_incomplete=True)
        found = {"info": info, "verify": verify, "stats": stats}[args.action](source)
    except (NotAStoreError, FileNotFoundError, NotADirectoryError) as error:
        print(f"not a store: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        found = {"problems": [str(error)]}
    problems = found.get("problems", [])
    if args.json:
        print(json.dumps(found))
    elif problems:
        print("\n".join(problems))
    elif args.action == "verify":
        print(f"{args.store}: {found['num_samples']} samples, no problems")
    else:
        show(found)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
