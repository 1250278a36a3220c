"""Accuracy over the bytes of the training data, of runs in work folders: Figure 1 and Table 1 of SeiT++.

python tools/analysis_tools/storage_accuracy.py WORK_DIR [WORK_DIR ...] --out storage.png storage.md

WORK_DIR is the work folder of a run, or a folder that holds several. Of every classifier in it the tool reads the
config (as data, nothing is run), measures the store or the image files that it trained on, and takes its score, of
`metrics.json` (tools/test.py --out) in the work folder, else of its last validation. Other runs are named and left out.
Bytes are of all that training needs: codes, every label and checksum, header, indices and the codebook; of folders the
image files. Where only a part of the images was used (--fraction, --images, subsets), they are the part's share.
`front` marks rows that no other beats: none has at least their score with no more bytes, and is better in either.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seitpp.engine.work_folders import Comparison, DataPlaces, Entry, compare_runs, find_work_folders
from seitpp.engine.work_folders.comparison import as_row
from seitpp.engine.work_folders.measuring import image_data, store_data
from seitpp.io.atomic_write import write_whole, written_whole
from seitpp.io.command_line import file_ending_in, regular_expression, run_tool
from seitpp.io.csv_file import write_csv
from seitpp.io.tables import print_table
from seitpp.io.text import markdown_table
from seitpp.visualization.storage_accuracy import PAPER_TABLE_1, Point, byte_size, draw_storage_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PICTURES = (".png", ".svg", ".pdf")
_FORMATS = (*_PICTURES, ".csv", ".md", ".json")
_COLUMNS = ("run", "method", "images", "bytes", "share", "per image", "codes alone", "top-1", "front", "score of")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what cannot be written ends the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dirs", type=Path, nargs="+", metavar="WORK_DIR", help="work folders, or folders of them")
    files, formats = file_ending_in(*_FORMATS), ", ".join(_FORMATS)
    parser.add_argument("--out", type=files, nargs="+", default=[], metavar="FILE", help=f"files to write: {formats}")
    parser.add_argument("--title", help="line above the picture")
    parser.add_argument(
        "--paper", action="store_true", help="show the paper's points, too: hollow, in a table of their own"
    )
    parser.add_argument(
        "--group",
        type=regular_expression,
        metavar="REGEX",
        help="runs whose names are alike without it are one row, with mean and deviation: --group='-seed[0-9]+'",
    )
    parser.add_argument(
        "--label", type=_pair, action="append", default=[], metavar="RUN=TEXT", help="call a run or group so"
    )
    parser.add_argument(
        "--reference",
        metavar="BYTES|DIR",
        help="what shares are of: bytes, or a folder of images or a store (default: the row of the most bytes)",
    )
    parser.add_argument(
        "--validation",
        choices=("last", "best"),
        default="last",
        help="which validation counts where there was no test (default: last)",
    )
    parser.add_argument("--key", default="accuracy/top1", metavar="NAME", help="the score (default: accuracy/top1)")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="where relative paths of the configs begin")
    parser.add_argument(
        "--moved",
        type=_pair,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="data were moved: a path, or its beginning",
    )
    return parser.parse_args(argv)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (sign and name and value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected two texts with = between them")
    return name, value


def reference_of(text: str | None, entries: Sequence[Entry]) -> tuple[int, str]:
    """Return the bytes that shares are of, and what they are."""
    if text is None:
        largest = max((one for one in entries if one.num_bytes is not None), key=lambda one: one.num_bytes)
        return largest.num_bytes, largest.name
    if text.isdecimal() and int(text):
        return int(text), f"{text} bytes"
    if not Path(text).is_dir():
        raise ValueError(f"--reference {text}: expected bytes, or a folder of images or a token store")
    data = store_data(text) if Path(text, "header.json").is_file() else image_data(text)
    return data.num_bytes, text


def cells(entry: Entry, reference: int) -> list[str]:
    """Return a row as people read it."""
    size, score = entry.num_bytes, entry.score
    shown = ["-"] * 5
    if size is not None:
        codes = entry.num_code_bytes
        shown = [
            f"{entry.num_images:,}",
            f"{byte_size(size)}{' *' if entry.is_computed else ''}",
            f"{100 * size / reference:.3g} %",
            f"{size / entry.num_images:,.1f}",
            "-" if codes is None else byte_size(codes),
        ]
    spread = "" if entry.spread is None else f" +- {entry.spread:.1f} ({len(entry.scores)})"
    sources = dict.fromkeys(run.score.described for run in entry.runs if run.score is not None)
    result = "-" if score is None else f"{score:.1f}{spread}"
    method = ", ".join(text for text in (entry.method, entry.made) if text)
    return [entry.name, method or "-", *shown, result, "front" if entry.is_front else "", "; ".join(sources)]


def notes_of(found: Comparison, reference: tuple[int, str]) -> list[str]:
    """Return what stands below the table."""
    lines = [f"share: of {byte_size(reference[0])} ({reference[1]})"]
    if any(entry.is_computed for entry in found.entries):
        lines.append("*: computed, a part's share of what lies on disk")
    said: dict[str, list[str]] = {}
    for entry in found.entries:
        for run in entry.runs:
            for note in run.notes:
                said.setdefault(note, []).append(run.name if len(entry.runs) > 1 else entry.name)
    lines += [f"{', '.join(names)}: {note}" for note, names in said.items()]
    return [*lines, *(f"left out: {line}" for line in found.skipped)]


def paper_cells() -> list[list[str]]:
    """Return the paper's Table 1."""
    largest = PAPER_TABLE_1[0].num_bytes
    return [
        [point.name, byte_size(point.num_bytes), f"{100 * point.num_bytes / largest:.0f} %", f"{point.score:.1f}"]
        for point in PAPER_TABLE_1
    ]


_PAPER_COLUMNS = ("paper: ImageNet-1k, ViT-B/16", "bytes", "share", "top-1")


def write_rows(path: Path, found: Comparison, rows: list[list[str]], notes: list[str], paper: bool) -> None:
    """Write the runs as a table, by the file's suffix: for programs all of each run, for people what is shown."""
    kind = path.suffix.lower()
    records = [as_row(run, entry) for entry in found.entries for run in entry.runs]
    if kind == ".csv":
        write_csv(path, list(records[0]), [list(record.values()) for record in records])
    elif kind == ".json":
        content: dict[str, Any] = {"runs": records, "notes": notes}
        if paper:
            content["paper"] = [dict(zip(_PAPER_COLUMNS, row, strict=True)) for row in paper_cells()]
        write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    else:
        parts = [markdown_table(_COLUMNS, rows), *([markdown_table(_PAPER_COLUMNS, paper_cells())] if paper else [])]
        text = "\n".join([*parts, *(f"- {note}" for note in notes)]) + "\n"
        write_whole(path, text.encode("utf-8", "replace"))


def draw(found: Comparison, title: str | None, paper: bool) -> "Figure":
    """Return the picture of the rows that have bytes and a score."""
    marks = {
        entry.name: Point(entry.name, entry.method, entry.num_bytes, entry.score, entry.spread)
        for entry in found.drawable
    }
    front = [marks[entry.name] for entry in found.drawable if entry.is_front]
    return draw_storage_accuracy(list(marks.values()), front, title, paper)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare runs, print the table, and write what was asked for."""
    args = parse_args(argv)
    places = DataPlaces(args.data_root, dict(args.moved))
    folders = find_work_folders(args.work_dirs)
    found = compare_runs(folders, places, key=args.key, validation=args.validation, group=args.group)
    found = found.renamed(dict(args.label))
    reference = reference_of(args.reference, found.entries)
    rows, notes = [cells(entry, reference[0]) for entry in found.entries], notes_of(found, reference)
    print_table(_COLUMNS, rows, words=("method", "front", "score of"))
    if args.paper:
        print_table(_PAPER_COLUMNS, paper_cells())
    print(*notes, sep="\n")
    pictures = [path for path in args.out if path.suffix.lower() in _PICTURES]
    figure = draw(found, args.title, args.paper) if pictures else None
    for path in args.out:
        if path in pictures:
            with written_whole(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
        else:
            write_rows(path, found, rows, notes, args.paper)
        print(f"wrote {path}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
