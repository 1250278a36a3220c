"""Text that people and spreadsheets write: lists of files, labels and class names, in whatever encoding they chose."""

import codecs
import re
from pathlib import Path

# The longer mark first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile("\r\n|\n|\r")


def decode_text(content: bytes, source: str | Path, what: str) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32 behind a byte order mark; without the mark.

    Args:
        content: The bytes.
        source: Where they are from, for messages.
        what: What they should be, as in "list".

    Raises:
        ValueError: They are in another encoding, or no text.
    """
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not a {what} in UTF-8: {error}; save it in this encoding") from error
    if "\0" in text:
        raise ValueError(f"{source} is not a {what} in UTF-8: it holds null bytes; save it as text in this encoding")
    return text


def text_lines(content: bytes, source: str | Path, what: str) -> list[str]:
    """Lines of text, without blanks at their ends and without empty lines at the end; raises as `decode_text`.

    Lines end where an editor shows it (LF, CRLF, CR) and not at other separators, which a name may contain.
    """
    lines = [line.strip() for line in _LINE_END.split(decode_text(content, source, what))]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def unquoted(text: str) -> str:
    """The text within double quotes, if it is within such."""
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if quoted else text
