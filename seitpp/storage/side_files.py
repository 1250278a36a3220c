"""The files beside the shards of a store, read and compared with the header: codebook and synonyms."""

from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.untrusted import read_file, read_npy
from seitpp.storage import format as store_format
from seitpp.storage.synonyms import MAX_SYNONYM_BYTES, SynonymTable, parse_synonyms


def load_store_codebook(folder: Path, header: dict[str, Any]) -> np.ndarray | None:
    """Code vectors (K, D), float32, as the header describes them; None if it has none.

    Raises:
        ValueError: Their file is missing, damaged or another one, or a value is not finite.
    """
    entry = header["codebook"]
    if entry is None:
        return None
    path, (size, dims) = folder / entry["file"], entry["shape"]
    try:
        codebook = read_npy(path, "codebook", at_most=4 * size * dims + 4096)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing, the header names it as codebook") from error
    shape = tuple(entry["shape"])
    if codebook.dtype != np.float32 or codebook.shape != shape or len(codebook) != header["codebook_size"]:
        raise ValueError(f"{path} holds {codebook.dtype} of shape {codebook.shape}, expected float32 {shape}")
    if (found := store_format.codebook_sha256(codebook)) != entry["sha256"]:
        raise ValueError(f"{path}: SHA-256 of the codebook is {found}, expected {entry['sha256']}")
    if not np.isfinite(codebook).all():
        row = np.argwhere(~np.isfinite(codebook))[0, 0]
        raise ValueError(f"{path}: row {row} of the codebook is not finite; make the store with a sound tokenizer")
    return codebook


def load_store_synonyms(folder: Path, header: dict[str, Any]) -> SynonymTable | None:
    """Similar codes of each code, best first; None if the header names none.

    Raises:
        ValueError: Their file is missing, damaged or another one, or has codes that the store has not.
    """
    entry = header.get("synonyms")
    if entry is None:
        return None
    path = folder / entry["file"]
    try:
        content = read_file(path, "synonyms file", at_most=MAX_SYNONYM_BYTES)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing, the header names it as synonyms") from error
    if store_format.sha256_hex(content) != entry["sha256"]:
        raise ValueError(f"{path}: SHA-256 differs from the one in header.json")
    synonyms = parse_synonyms(content, path)
    for code, similar in synonyms.items():
        if max([code, *similar]) >= header["codebook_size"]:
            raise ValueError(f"{path}: code {code} or a synonym of it is not in [0, {header['codebook_size']})")
    return synonyms
