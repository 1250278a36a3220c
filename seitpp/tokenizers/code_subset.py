"""Tables of the codes that a tokenizer keeps of its codebook: numbers, a file of them, or a store that has one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seitpp.io.checkpoint import shorten
from seitpp.io.untrusted import read_npy
from seitpp.storage.codecs import MAX_CODEBOOK_SIZE

CodeSubset = str | Path | Sequence[int] | np.ndarray | Tensor


def read_code_subset(source: CodeSubset) -> Tensor:
    """A table of original codes (K',), int64, from numbers, a `.npy` file, or a token store with a code table.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: The file is no such table, or the store records none.
    """
    if not isinstance(source, (str, Path)):
        return _as_table(source, "code_subset")
    path = Path(source)
    if path.is_dir():
        from seitpp.storage import StoreReader

        table = StoreReader(path, allow_incomplete=True).code_table
        if table is None:
            raise ValueError(f"code_subset {path}: the store records no code table; name a .npy file of codes instead")
        return _as_table(table.codes, path)
    try:
        return _as_table(read_npy(path, "code_subset", at_most=8 * MAX_CODEBOOK_SIZE + 4096), path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; expected a .npy file of codes or a token store") from error


def _as_table(values: Any, source: str | Path) -> Tensor:
    table = np.asarray(values)
    if table.ndim != 1 or not len(table) or table.dtype.kind not in "iu":
        raise ValueError(f"{source} holds {table.dtype} of shape {table.shape}; expected integers (K',)")
    return torch.from_numpy(table.astype(np.int64))


def check_code_subset(table: Tensor, codebook_size: int) -> Tensor:
    """The table, or `ValueError` unless its codes are different and in [0, codebook_size)."""
    if outside := table[(table < 0) | (table >= codebook_size)].tolist():
        raise ValueError(f"code_subset holds {shorten(map(str, outside))}; expected codes in [0, {codebook_size})")
    codes, counts = table.unique(return_counts=True)
    if repeated := codes[counts > 1].tolist():
        raise ValueError(f"code_subset holds {shorten(map(str, repeated))} more than once; each code belongs in once")
    return table
