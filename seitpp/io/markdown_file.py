"""Tables that a tool prints, as Markdown for documents."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from seitpp.io.atomic_write import write_whole


def write_markdown(path: str | Path, table: Table, notes: Sequence[str] = ()) -> None:
    """Write a table of text, lines of a header behind commas, and a paragraph per note after it."""
    cells = zip(*(column.cells for column in table.columns), strict=True)
    lines = [
        _line(str(column.header).replace("\n", ", ") for column in table.columns),
        "|" + " --- |" * len(table.columns),
        *map(_line, cells),
    ]
    write_whole(path, ("\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in notes)).encode())


def _line(cells: Iterable[object]) -> str:
    escaped = (str(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
