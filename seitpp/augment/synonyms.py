"""Synonyms of codes, for Token-EDA: the nearest codes of a codebook, and a table of them as tensors."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.storage import StoreReader, load_synonyms
from seitpp.storage.format import Progress

# Scores of this many elements (32 MiB of float64) at a time.
_SCORE_ELEMENTS = 1 << 22
_BUILD = "python tools/build_synonyms.py CODEBOOK OUT.json"


def nearest_neighbours(
    codebook: np.ndarray, count: int, distance: str = "cosine", progress: Progress | None = None
) -> dict[int, list[int]]:
    """The nearest other codes of every code.

    Args:
        codebook: Vectors (K, D).
        count: Neighbours per code, from 1 to K - 1.
        distance: `cosine` or `euclidean`.
        progress: Called with the number of codes done and K.

    Returns:
        For each code its neighbours, the nearest first, of equally near ones the lower code first.

    Raises:
        ValueError: There are not so many other codes, or no such distance.
    """
    size = len(codebook)
    if not 1 <= count < size:
        raise ValueError(
            f"count is {count}, expected 1 to {size - 1}: a codebook of {size} codes has {size - 1} others"
        )
    if distance not in ("cosine", "euclidean"):
        raise ValueError(f"distance is {distance!r}, expected cosine or euclidean")
    rows = torch.as_tensor(codebook, dtype=torch.float64)
    if distance == "cosine":
        rows = F.normalize(rows, dim=1)
    half_norms = rows.square().sum(dim=1) / 2  # of unit rows all alike
    step = max(1, _SCORE_ELEMENTS // size)
    table: dict[int, list[int]] = {}
    for start in range(0, size, step):
        part = rows[start : start + step]
        scores = part @ rows.T - half_norms  # (r, K), larger is nearer
        scores.diagonal(start).fill_(-torch.inf)
        worst = scores.topk(count).values[:, -1:]
        better, equal = scores > worst, scores == worst  # topk takes any of equal ones
        places_left = count - better.sum(dim=1, keepdim=True)
        kept = better | (equal & (equal.cumsum(dim=1) <= places_left))
        codes = kept.nonzero()[:, 1].view(-1, count)  # (r, count), ascending
        order = scores.gather(1, codes).argsort(dim=1, descending=True, stable=True)
        table.update(enumerate(codes.gather(1, order).tolist(), start))
        if progress is not None:
            progress(start + len(part), size)
    return table


class SynonymLookup:
    """Synonyms as tensors, copied to each device once.

    Args:
        synonyms: Path of a JSON file (see `seitpp.storage.load_synonyms`) or of a token store that carries synonyms,
            or the table itself, from code to similar codes, best first.
        count: Synonyms per code that are used at most.

    Raises:
        FileNotFoundError: Nothing lies at the path.
        ValueError: The file or the table is none of synonyms, or the store carries none.
    """

    def __init__(self, synonyms: str | Path | Mapping[int, Sequence[int]], count: int) -> None:
        is_path = isinstance(synonyms, (str, Path))
        self.source = str(synonyms) if is_path else "the given table of synonyms"
        self.count = count
        self._table = _read(Path(synonyms)) if is_path else synonyms
        for value in (value for code, similar in self._table.items() for value in (code, *similar)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"{self.source}: {value!r} is not a code, expected an integer of at least 0")
        if not any(len(similar) for similar in self._table.values()):
            raise ValueError(f"{self.source} holds no synonyms at all; make a table with {_BUILD}")
        self._on_device: dict[tuple[torch.device, int], tuple[Tensor, Tensor]] = {}

    def check(self, codebook_size: int) -> None:
        """Raise `ValueError` if a code of the table is none of a codebook of that many codes."""
        largest = max(max(code, *similar) if len(similar) else code for code, similar in self._table.items())
        if largest >= codebook_size:
            raise ValueError(
                f"{self.source} names code {largest}, but the codebook has the codes 0 to {codebook_size - 1}; make a "
                f"table for this codebook with {_BUILD}"
            )

    def tensors(self, codebook_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The table on a device.

        Args:
            codebook_size: K; checked against the table.
            device: Where the codes are.

        Returns:
            Synonyms (K, count), int64, best first and padded with 0, and how many each code has, (K,), int64.
        """
        key = (device, codebook_size)
        if key not in self._on_device:
            self.check(codebook_size)
            table, counts = np.zeros((codebook_size, self.count), np.int64), np.zeros(codebook_size, np.int64)
            for code, similar in self._table.items():
                kept = list(similar)[: self.count]
                table[code, : len(kept)], counts[code] = kept, len(kept)
            self._on_device[key] = (torch.from_numpy(table).to(device), torch.from_numpy(counts).to(device))
        return self._on_device[key]


def _read(path: Path) -> Mapping[int, Sequence[int]]:
    if path.is_dir():
        synonyms = StoreReader(path).synonyms
        if synonyms is None:
            raise ValueError(f"the store {path} carries no synonyms; name a file that {_BUILD} made of it")
        return synonyms
    if not path.is_file():
        raise FileNotFoundError(f"synonyms {path} do not exist; make them with {_BUILD}")
    return load_synonyms(path)
