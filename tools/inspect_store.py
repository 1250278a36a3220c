"""Show, verify or measure a token store, or a published release file.

python tools/inspect_store.py info STORE
python tools/inspect_store.py verify STORE     exit status: 0 sound, 1 problems, 2 not a store
python tools/inspect_store.py stats STORE

Bounds of `stats`: `entropy` is of order 0, over all codes. `held out order 0` and `conditional` (given the left and the
upper neighbour) are fitted to the first half of at most 4,096 evenly spaced samples and measured on the second.
Of a store with label maps, `stats` also counts the pixels of each class: `share` is that of the pixels not ignored.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seitpp.images.label_maps import label_histogram
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import NotAStoreError, SeitRelease, StoreReader, is_release, open_source, store_stats
from seitpp.storage.stats import class_facts


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The options; ones that contradict each other end the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["info", "verify", "stats"])
    parser.add_argument("store", type=Path, help="folder of a store, or NAME-token.data.bin.gz (info and stats)")
    parser.add_argument(
        "--grid", type=int, nargs=2, metavar=("H", "W"), help="codes of an image in a release file (default: 32 32)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.grid is not None and not is_release(args.store):
        parser.error("--grid belongs to a release file; a store knows its own")
    return args


def info(source: StoreReader | SeitRelease) -> dict[str, Any]:
    """What a store or release holds, and what it costs; reads no tokens."""
    is_store = isinstance(source, StoreReader)
    facts = {
        "format": f"token store, version {source.header['version']}" if is_store else "SeiT release",
        "num_samples": len(source),
        "grid": list(source.grid),
        "channels": source.channels,
        "values": [source.minimum, source.minimum + source.codebook_size - 1],
        "codebook_size": source.codebook_size if is_store else f"up to {source.codebook_size}",
        "label_kind": source.header["labels"]["kind"] if is_store else "none" if source.labels is None else "class",
        **class_facts(source),
        "num_bytes": source.num_bytes,
        "bytes_per_image": source.num_bytes / len(source),
        "token_bytes_per_image": source.section_bytes["tokens"] / len(source),
        "table_bytes_per_image": source.section_bytes["tables"] / len(source),
        "index_bytes_per_image": source.section_bytes["index"] / len(source),
    }
    if is_store:
        facts |= {
            "tokenizer": source.header["tokenizer"],
            "codebook": source.header["codebook"],
            "code_table": source.header.get("code_table"),
            "codec": source.header["codec"],
            "num_shards": len(source.header["shards"]),
            "complete": source.header["complete"],
            "source": source.header["source"],
            "content_hash": source.content_hash,
        }
    return facts


def stats(source: StoreReader | SeitRelease) -> dict[str, Any]:
    """The fields of `StoreStats`, bytes per image, and `label_maps`, those of `label_histogram`; reads everything."""
    with progress_bar("counting codes") as progress:
        facts = asdict(store_stats(source, progress))
    if isinstance(source, StoreReader) and source.header["labels"]["kind"] == "segmentation":
        with progress_bar("counting labels", unit="label maps") as progress:
            facts["label_maps"] = label_histogram(source, progress)
    return facts


def verify(source: StoreReader | SeitRelease) -> dict[str, Any]:
    """The problems of a store, one line each, under `problems`."""
    if isinstance(source, SeitRelease):
        raise NotAStoreError(f"{source.data_path} is a release file; verify takes the folder of a store")
    with progress_bar("verifying") as progress:
        problems = source.verify(progress)
    if not source.header["complete"]:
        problems.append(f"{source.path} is incomplete: {len(source)} samples are committed, run its writer again")
    return {"num_samples": len(source), "problems": problems}


def show(facts: dict[str, Any]) -> None:
    """Print facts as a table of names and values, and the classes of label maps as one of their own."""
    label_maps = facts.get("label_maps")
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        if key == "label_maps":
            continue
        shown = (
            f"{value:.4f}" if isinstance(value, float) else json.dumps(value) if isinstance(value, dict) else str(value)
        )
        table.add_row(key.replace("_", " "), shown if value is not None else "-")
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    if label_maps is not None:
        console.print(class_table(label_maps))
        console.print(f"pixels ignored: {label_maps['ignored_pixels']:,} ({label_maps['ignored_share']:.2%})")


def class_table(label_maps: dict[str, Any]) -> Table:
    """The classes of `label_histogram`, one a row."""
    table = Table(box=None)
    for column in ("class", "name", "pixels", "share", "images"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for row in label_maps["classes"]:
        name = "-" if row["name"] is None else row["name"]
        table.add_row(str(row["class"]), name, f"{row['pixels']:,}", f"{row['share']:.2%}", f"{row['images']:,}")
    return table


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status that the module docstring lists."""
    args = parse_args(argv)
    try:
        source = open_source(args.store, grid=tuple(args.grid or (32, 32)), allow_incomplete=True)
        facts = {"info": info, "verify": verify, "stats": stats}[args.action](source)
    except (NotAStoreError, FileNotFoundError, NotADirectoryError) as error:
        print(f"not a store: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        facts = {"problems": [str(error)]}
    problems = facts.get("problems", [])
    if args.json:
        print(json.dumps(facts))
    elif problems:
        print("\n".join(problems))
    elif args.action == "verify":
        print(f"{args.store}: {facts['num_samples']} samples, no problems")
    else:
        show(facts)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
