"""Tables for spreadsheets, written whole."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seitpp.io.atomic_write import write_whole


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV in UTF-8, commas between cells and a line per row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode("utf-8", "replace"))
