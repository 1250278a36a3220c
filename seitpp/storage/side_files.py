"""The files beside the shards of a store, compared with the header: codebook, synonyms and code table."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.text import shown
from seitpp.io.untrusted import parse_json, read_file, read_npy
from seitpp.storage.code_table import CodeTable
from seitpp.storage.header import sha256_hex

_MAX_SYNONYM_BYTES = 2**28
_CODE = re.compile("0|[1-9][0-9]{0,8}", re.ASCII)


class SynonymTable(dict[int, list[int]]):
    """Similar codes of each code (Token-EDA's synonyms), best first, that remembers the JSON text it was read from.

    From `content`, the text, an unchanged table is written again byte for byte.
    """

    def __init__(self, table: dict[int, list[int]], content: bytes) -> None:
        super().__init__(table)
        self.content = content


def load_synonyms(path: str | Path) -> SynonymTable:
    """Read a synonyms file: a JSON object from code (decimal string) to the list of its similar codes.

    Anything else is a `ValueError`, which names the file, the key and what was expected.
    """
    content = read_file(path, "synonyms file", at_most=_MAX_SYNONYM_BYTES)
    pairs = parse_json(content, path, object_pairs_hook=_Pairs)
    if not isinstance(pairs, _Pairs):
        raise ValueError(f"{path} holds a JSON {type(pairs).__name__}, expected an object from code to similar codes")
    table: dict[int, list[int]] = {}
    for key, similar in pairs:
        if not _CODE.fullmatch(key):
            raise ValueError(f"{path}: key {shown(key)} is not a code, expected a decimal number such as '17'")
        if int(key) in table:
            raise ValueError(f"{path}: key {key!r} occurs twice, expected each code once")
        if type(similar) is not list or not all(type(code) is int and code >= 0 for code in similar):
            raise ValueError(
                f"{path}: key {key!r} has the value {shown(similar)}, expected a list of codes such as [3, 5]"
            )
        table[int(key)] = similar
    return SynonymTable(table, content)


def dump_synonyms(synonyms: dict[int, list[int]]) -> bytes:
    """Return synonyms as JSON; a table that was read from a file and not changed since gives the bytes of that file."""
    if isinstance(synonyms, SynonymTable):
        unchanged = {int(code): similar for code, similar in json.loads(synonyms.content).items()}
        if unchanged == synonyms:
            return synonyms.content
    return json.dumps({str(code): [int(value) for value in similar] for code, similar in synonyms.items()}).encode()


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object in order, repeated keys included, which a dict would hide."""

    def __repr__(self) -> str:
        """As a dict, for error messages."""
        return repr(dict(self))


def npy_bytes(stored: np.ndarray) -> bytes:
    """Return the content of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, stored, allow_pickle=False)
    return file.getvalue()


def load_codebook(folder: Path, header: dict[str, Any]) -> np.ndarray | None:
    """Read the code vectors (K, D), float32, of a store, or None; those that are not finite are a `ValueError`."""
    entry = header["codebook"]
    codebook = entry and load_array(folder, header, "codebook", "<f4", tuple(entry["shape"]))
    if codebook is not None and not np.isfinite(codebook).all():
        row = np.argwhere(~np.isfinite(codebook))[0, 0]
        raise ValueError(
            f"{folder / entry['file']}: row {row} of the codebook is not finite; make the store with a sound tokenizer"
        )
    return codebook


def load_code_table(folder: Path, header: dict[str, Any]) -> CodeTable | None:
    """Read which codes of a larger codebook those of a store stand for, or None; what is no table is a `ValueError`."""
    codes = load_array(folder, header, "code_table", "<i4", (header["codebook_size"],))
    if codes is None:
        return None
    try:
        return CodeTable(codes, header["code_table"]["codebook_size"])
    except ValueError as error:
        raise ValueError(f"{folder / header['code_table']['file']}: {error}") from error


def load_array(
    folder: Path, header: dict[str, Any], name: str, dtype: str, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Read the array of a `.npy` file that an entry of the header names; None if there is no such entry.

    A file that is missing, damaged or another one is a `ValueError`.
    """
    entry = header.get(name)
    if entry is None:
        return None
    path, what, stored = folder / entry["file"], name.replace("_", " "), np.dtype(dtype)
    try:
        found = read_npy(path, what, at_most=stored.itemsize * int(np.prod(shape)) + 4096)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing, the header names it as {name}") from error
    if found.dtype != stored.newbyteorder("=") or found.shape != shape:
        raise ValueError(
            f"{path} holds {found.dtype} of shape {found.shape}, expected {stored.newbyteorder('=')} {shape}"
        )
    if (digest := sha256_hex(np.ascontiguousarray(found, stored))) != entry["sha256"]:
        raise ValueError(f"{path}: SHA-256 of the {what} is {digest}, expected {entry['sha256']} as in header.json")
    return found


def load_store_synonyms(folder: Path, header: dict[str, Any]) -> SynonymTable | None:
    """Read the similar codes of each code of a store, best first; None if the header names none.

    A file that is missing, damaged, another one, or has codes that the store has not is a `ValueError`.
    """
    entry = header.get("synonyms")
    if entry is None:
        return None
    path = folder / entry["file"]
    try:
        synonyms = load_synonyms(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing, the header names it as synonyms") from error
    if sha256_hex(synonyms.content) != entry["sha256"]:
        raise ValueError(f"{path}: SHA-256 differs from the one in header.json")
    for code, similar in synonyms.items():
        if max([code, *similar]) >= header["codebook_size"]:
            raise ValueError(f"{path}: code {code} or a synonym of it is not in [0, {header['codebook_size']})")
    return synonyms
