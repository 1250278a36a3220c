"""Tables of similar codes (Token-EDA's synonyms) as JSON: one object, key = code, value = list of codes, best first."""

import json
import re
from pathlib import Path
from typing import Any

from seitpp.io.untrusted import parse_json, read_file, shown

MAX_SYNONYM_BYTES = 2**28
_CODE = re.compile("0|[1-9][0-9]{0,8}", re.ASCII)


class SynonymTable(dict[int, list[int]]):
    """Similar codes of each code, best first, that remembers the JSON text it was read from.

    Args:
        table: The similar codes of each code.
        content: The text, from which an unchanged table is written again byte for byte.
    """

    def __init__(self, table: dict[int, list[int]], content: bytes) -> None:
        super().__init__(table)
        self.content = content


def load_synonyms(path: str | Path) -> SynonymTable:
    """Read a synonyms file: a JSON object from code (decimal string) to the list of its similar codes.

    Raises:
        ValueError: The file is not such an object; the message names the file, the key and what was expected.
    """
    return parse_synonyms(read_file(path, "synonyms file", at_most=MAX_SYNONYM_BYTES), path)


def parse_synonyms(content: bytes, path: str | Path) -> SynonymTable:
    """Parse the bytes of a synonyms file; `path` is named in errors, see `load_synonyms`."""
    pairs = parse_json(content, path, object_pairs_hook=_Pairs)
    if not isinstance(pairs, _Pairs):
        raise ValueError(f"{path} holds a JSON {type(pairs).__name__}, expected an object from code to similar codes")
    table: dict[int, list[int]] = {}
    for key, similar in pairs:
        if not _CODE.fullmatch(key):
            raise ValueError(f"{path}: key {shown(key)} is not a code, expected a decimal number such as '17'")
        if int(key) in table:
            raise ValueError(f"{path}: key {key!r} occurs twice, expected each code once")
        if not _is_code_list(similar):
            raise ValueError(
                f"{path}: key {key!r} has the value {shown(similar)}, expected a list of codes such as [3, 5]"
            )
        table[int(key)] = similar
    return SynonymTable(table, content)


def dump_synonyms(synonyms: dict[int, list[int]]) -> bytes:
    """Synonyms as JSON; a table that was read from a file, and not changed since, gives the bytes of that file."""
    if isinstance(synonyms, SynonymTable) and parse_synonyms(synonyms.content, "content") == synonyms:
        return synonyms.content
    return json.dumps({str(code): [int(value) for value in similar] for code, similar in synonyms.items()}).encode()


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object in order, repeated keys included, which a dict would hide."""

    def __repr__(self) -> str:
        """As a dict, for error messages."""
        return repr(dict(self))


def _is_code_list(value: Any) -> bool:
    """Whether a JSON value is a list of integers of at least 0."""
    return type(value) is list and all(type(code) is int and code >= 0 for code in value)
