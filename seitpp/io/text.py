"""Text that people read and write: parts of messages, and lists in whatever encoding their program chose. No numpy."""

import codecs
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_SHOWN_CHARACTERS = 200
_MOST_SUGGESTIONS = 3
# The longer mark first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BAR = "\\|"  # within a cell of a table in Markdown
_LINE_END = re.compile("\r\n|\n|\r")


def shown(value: Any, most: int = _SHOWN_CHARACTERS) -> str:
    """Return the `repr` of a value of a file for a message, cut off where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError, MemoryError):  # an integer of many thousand digits; deep nesting
        text = f"a {type(value).__name__} too large to print"
    return text if len(text) <= most else f"{text[:most]}..."


def shorten(names: Iterable[str], most: int = 8) -> str:
    """Return names in a row, cut off after `most` with the number that is left."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def scaled(number: float, digits: int = 4) -> str:
    """Return a number with the unit K, M, G or T, or none."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.{digits}g} {unit}"
    return f"{number:g}"


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown, with a line for the header, a line under it and a line per row."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', _BAR) for cell in line)} |\n" for line in lines)


def cut(text: str, most: int) -> str:
    """Return text of at most `most` characters, with an ellipsis in place of the rest."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three known names that look like a wrong one; of dotted names their last parts are compared."""
    by_last = {one.split(".")[-1].lower(): one for one in known}
    return [by_last[one] for one in difflib.get_close_matches(name.split(".")[-1].lower(), by_last, _MOST_SUGGESTIONS)]


def did_you_mean(names: Iterable[str]) -> str:
    """Return a remark with names that may have been meant, or nothing if there are none."""
    names = list(names)[:_MOST_SUGGESTIONS]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def decode_text(content: bytes, source: str | Path, what: str) -> str:
    """Return text in UTF-8, or in UTF-16 or UTF-32 behind a byte order mark; `what` it should be is such as "list"."""
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not a {what} in UTF-8: {error}; save it in this encoding") from error
    if "\0" in text:
        raise ValueError(f"{source} is not a {what} in UTF-8: it holds null bytes; save it as text in this encoding")
    return text


def text_lines(content: bytes, source: str | Path, what: str) -> list[str]:
    """Return lines of text, stripped, without empty lines at the end; arguments as for `decode_text`.

    Lines end where an editor shows it (LF, CRLF, CR) and not at other separators, which a name may contain.
    """
    lines = [line.strip() for line in _LINE_END.split(decode_text(content, source, what))]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def unquoted(text: str) -> str:
    """Return the text within double quotes, if it is within such."""
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if quoted else text
