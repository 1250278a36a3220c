"""Tables in the terminal, with whole rows in windows of any width."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDTH = 1000  # characters: a row that is longer than the window goes on in its next line


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", words: Collection[str] = ()
) -> None:
    """Print a table: its first column and those of `words` begin at the left, the others, of numbers, end at the right.

    Args:
        columns: Names above the columns.
        rows: A text per column.
        title: A line above the table.
        words: Names of columns of words.
    """
    table = Table(title=title or None, title_justify="left", box=None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 or column in words else "right")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, soft_wrap=True, width=_WIDTH).print(table)
