"""The config that mmengine stores in a checkpoint: Python text, which is read here and never run.

mmengine writes assignments of literals, `dict(...)` and names of classes. Anything else is refused, before Python's
compiler sees it: the text is taken apart token by token, by a grammar of six rules, in bounded size and depth.
"""

import ast
import io
import math
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mmengine.config import Config

from seitpp.io.checkpoint import check_parts, load_checkpoint_meta
from seitpp.io.text import shown
from seitpp.io.untrusted import parsing

_MOST_CHARACTERS = 1 << 19
_MOST_DIGITS = 40
_MOST_DEPTH = 48
_WORDS = {"True": True, "False": False, "None": None, "inf": math.inf, "nan": math.nan}
_IGNORED = (tokenize.NL, tokenize.COMMENT, tokenize.ENCODING)


def config_of_checkpoint(checkpoint: str | Path | Mapping[str, Any]) -> Config | None:
    """Return the config that a checkpoint was trained with, or None where it holds none.

    Its text is data of whoever made the file, and so is all that it names: build nothing of it and open no path in it.

    Args:
        checkpoint: A file of torch or safetensors, of which no weights are read; or what `load_checkpoint_file` gave.

    Raises:
        ValueError: What the checkpoint holds as its config is no text, longer than a config is, or not made of
            assignments, literals and `dict(...)`.
    """
    is_loaded = isinstance(checkpoint, Mapping)
    meta = (checkpoint.get("meta") if is_loaded else load_checkpoint_meta(checkpoint)) or {}
    if is_loaded:
        check_parts({"meta": meta}, "that was loaded")
    text = meta.get("cfg")
    if text is None:
        return None
    return Config(parse_config(text, "the config in " + ("a checkpoint" if is_loaded else f"checkpoint {checkpoint}")))


def parse_config(text: Any, source: str) -> dict[str, Any]:
    """Read a config's text as `Config.pretty_text` writes it, executing nothing.

    Returns:
        Its values by name: dicts, lists, tuples, text, numbers, bool and None. Classes are text: the names they have.
    """
    if not isinstance(text, str):
        raise ValueError(f"{source} is {shown(text)}, expected text")
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"{source} has {len(text):,} characters, expected at most {_MOST_CHARACTERS:,}")
    with parsing(source, "text as mmengine writes a config, of assignments, literals and dict(...)"):
        values = _Parser(text).config()
        Config(values)  # which refuses some names
    return values


class _Token(NamedTuple):
    """A token without its line, of which a long one would be kept many times."""

    kind: int
    text: str
    line: int


class _Parser:
    """Reads one config, from left to right."""

    def __init__(self, text: str) -> None:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self._tokens = [_Token(one.type, one.string, one.start[0]) for one in tokens if one.type not in _IGNORED]
        self._at = self._depth = 0

    def config(self) -> dict[str, Any]:
        """Read assignments up to the end."""
        values: dict[str, Any] = {}
        while self._next.kind != tokenize.ENDMARKER:
            self._assign(values)
            if self._next.kind != tokenize.NEWLINE:
                self._refuse()
            self._at += 1
        return values

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _refuse(self) -> NoReturn:
        raise ValueError(f"line {self._next.line} has {shown(self._next.text, 40)} where it cannot be")

    def _takes(self, sign: str) -> bool:
        """Step over a sign, if it is the next."""
        found = self._next.kind == tokenize.OP and self._next.text == sign
        self._at += found
        return found

    def _name(self) -> str:
        if self._next.kind != tokenize.NAME:
            self._refuse()
        self._at += 1
        return self._tokens[self._at - 1].text

    def _assign(self, values: dict[str, Any]) -> None:
        name = self._name()
        if name in values or not self._takes("="):
            self._refuse()
        values[name] = self._value()

    def _value(self) -> Any:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError(f"it is nested more than {_MOST_DEPTH} levels deep")
        if self._takes("["):
            value: Any = self._items("]")[0]
        elif self._takes("("):
            value = self._tuple()
        elif self._takes("{"):
            value = self._mapping()
        elif self._next.kind == tokenize.NAME:
            value = self._word()
        elif self._next.kind == tokenize.STRING:
            value = self._text()
        else:
            value = self._number()
        self._depth -= 1
        return value

    def _items(self, end: str) -> tuple[list, bool]:
        """Read values up to a closing bracket; return them, and whether a comma came after the last."""
        values, comma = [], True
        while not self._takes(end):
            if not comma:
                self._refuse()
            values.append(self._value())
            comma = self._takes(",")
        return values, comma

    def _tuple(self) -> Any:
        values, comma = self._items(")")
        return values[0] if len(values) == 1 and not comma else tuple(values)

    def _mapping(self) -> dict:
        values, comma = {}, True
        while not self._takes("}"):
            if not comma:
                self._refuse()
            key = self._value()
            if not isinstance(key, str | int) or not self._takes(":"):
                self._refuse()
            values[key] = self._value()
            comma = self._takes(",")
        return values

    def _word(self) -> Any:
        name = self._name()
        if name == "dict" and self._takes("("):
            return self._dict()
        if name in _WORDS:
            return _WORDS[name]
        while self._takes("."):
            name += f".{self._name()}"
        return name  # of a class

    def _dict(self) -> dict:
        if self._takes("{"):  # mmengine's way of writing names that are no identifiers
            values, comma = self._mapping(), self._takes(",")
        else:
            values, comma = {}, True
        while not self._takes(")"):
            if not comma:
                self._refuse()
            self._assign(values)
            comma = self._takes(",")
        return values

    def _text(self) -> str:
        parts = []
        while self._next.kind == tokenize.STRING:  # yapf and people break long ones
            if self._next.text[0] not in "'\"":  # bytes, or a template
                self._refuse()
            parts.append(ast.literal_eval(self._next.text))
            self._at += 1
        return "".join(parts)

    def _number(self) -> float:
        sign = -1 if self._takes("-") else 1
        if sign < 0 and self._next.kind == tokenize.NAME and self._next.text in ("inf", "nan"):
            return -_WORDS[self._name()]
        is_number = self._next.kind == tokenize.NUMBER and len(self._next.text) <= _MOST_DIGITS
        value = ast.literal_eval(self._next.text) if is_number else None
        if not isinstance(value, int | float):
            self._refuse()
        self._at += 1
        return sign * value
