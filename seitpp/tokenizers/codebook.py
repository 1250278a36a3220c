"""The codebook: K vectors that codes index. Reading, writing, hashing it, subsets of it, and the nearest-code search.

Tokenizers, the data preprocessor and augmentations share it. The nearest code after L2 normalisation of both sides is
ViT-VQGAN's quantiser (Yu et al., 2021), which SeiT's released codes were assigned with.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.io.atomic_write import written_whole
from seitpp.io.plain_objects import NotPlainError
from seitpp.io.text import shorten
from seitpp.io.torch_file import load_torch_file
from seitpp.io.untrusted import read_npy
from seitpp.storage import StoreReader
from seitpp.storage import header as store_header
from seitpp.storage.codecs import MAX_CODEBOOK_SIZE

CodeSubset: TypeAlias = str | Path | Sequence[int] | np.ndarray | Tensor

_MOST_BYTES = 1 << 32
# Scores of this many elements a thread (1 MiB of float32) stay in a CPU core's cache; more rows at once run slower.
_CPU_SCORE_ELEMENTS = 1 << 18
# On an accelerator the bound only keeps the scores from filling the memory at K in the hundred thousands.
_DEVICE_SCORE_ELEMENTS = 1 << 28
# Scores of a codebook with itself, this many (32 MiB of float64) at a time.
_NEIGHBOUR_SCORES = 1 << 22


def codebook_sha256(codebook: Tensor | np.ndarray) -> str:
    """Return the SHA-256 (hex) of the rows as C-ordered little-endian float32, which stores record."""
    array = codebook.detach().cpu().numpy() if isinstance(codebook, Tensor) else codebook
    return store_header.codebook_sha256(array)


def load_codebook(path: str | Path) -> np.ndarray:
    """Read a codebook (K, D), float32, from a token store, a `.npy` file, or a torch file such as the release's."""
    path = Path(path)
    if path.is_dir():
        codebook = StoreReader(path, allow_incomplete=True).codebook
        if codebook is None:
            raise ValueError(f"store {path} carries no codebook; name a codebook file (.npy or a torch tensor) instead")
        return codebook
    if not path.exists():
        raise FileNotFoundError(
            f"codebook {path} does not exist; point `codebook` at a token store (docs/data.md makes those of the "
            "recipes), a .npy file or the release's codebook.ckpt"
        )
    if path.suffix == ".npy":
        return checked_codebook(read_npy(path, "codebook", at_most=_MOST_BYTES), path)
    try:
        value = load_torch_file(path, what="codebook")
    except NotPlainError as error:
        raise ValueError(
            f"codebook {path} is not a plain tensor but a pickle that carries code or objects, which is refused "
            "(nothing in it was run). Save the codebook as one tensor."
        ) from error
    if not isinstance(value, Tensor):
        raise ValueError(f"codebook {path} holds a {type(value).__name__}; expected one plain tensor (K, D)")
    return checked_codebook(codebook_array(value), path)


def checked_codebook(array: np.ndarray, path: str | Path) -> np.ndarray:
    """Return vectors read from `path` as (K, D), float32; `ValueError` unless they are 2-d floats, finite as such."""
    if array.ndim != 2 or array.dtype.kind != "f" or 0 in array.shape:
        raise ValueError(f"codebook {path} holds a {array.dtype} array of shape {array.shape}; expected floats (K, D)")
    with np.errstate(over="ignore"):
        codebook = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(codebook).all():
        raise ValueError(
            f"codebook {path} holds values that are not finite as float32; it is damaged or was never trained"
        )
    return codebook


def codebook_array(value: Tensor) -> np.ndarray:
    """Return a tensor read from a file as an array, floats as float32: numpy has no bfloat16."""
    return value.detach().float().numpy() if value.is_floating_point() else value.numpy()


def save_codebook(path: str | Path, codebook: np.ndarray | Tensor) -> None:
    """Write a codebook (K, D) in one piece, as `.npy` or with any other suffix as one torch tensor."""
    array = np.ascontiguousarray(torch.as_tensor(codebook).cpu().numpy(), dtype=np.float32)
    content = io.BytesIO()  # numpy gives no reason when it fails to write to a full disk
    if Path(path).suffix == ".npy":
        np.save(content, array)
    else:
        torch.save(torch.from_numpy(array), content)
    with written_whole(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_code_subset(source: CodeSubset) -> Tensor:
    """Read which codes of a codebook are kept, (K',), int64: numbers, a `.npy` file, or a store with a code table."""
    values: Any = source
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            table = StoreReader(path, allow_incomplete=True).code_table
            if table is None:
                raise ValueError(
                    f"code_subset {path}: the store records no code table; name a .npy file of codes instead"
                )
            values = table.codes
        else:
            try:
                values = read_npy(path, "code_subset", at_most=8 * MAX_CODEBOOK_SIZE + 4096)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{error}; expected a .npy file of codes or a token store") from error
    codes = np.asarray(values)
    if codes.ndim != 1 or not len(codes) or codes.dtype.kind not in "iu":
        what = source if isinstance(source, (str, Path)) else "code_subset"
        raise ValueError(f"{what} holds {codes.dtype} of shape {codes.shape}; expected integers (K',)")
    return torch.from_numpy(codes.astype(np.int64))


def check_code_subset(table: Tensor, codebook_size: int) -> Tensor:
    """Return the table, or raise `ValueError` unless its codes are different and in [0, codebook_size)."""
    if outside := table[(table < 0) | (table >= codebook_size)].tolist():
        raise ValueError(f"code_subset holds {shorten(map(str, outside))}; expected codes in [0, {codebook_size})")
    codes, counts = table.unique(return_counts=True)
    if repeated := codes[counts > 1].tolist():
        raise ValueError(f"code_subset holds {shorten(map(str, repeated))} more than once; each code belongs in once")
    return table


def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Find the row of a codebook (K, D) with the largest cosine to each vector (..., D): codes (...), int64.

    Ties go to the lowest code. Computed in float32 whatever autocast says: in bfloat16 codes change. A vector's own
    length cannot change which cosine is largest, so only the codebook is normalised.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        directions = F.normalize(codebook.float(), dim=-1).T.contiguous()  # (D, K)
        flat = vectors.reshape(-1, vectors.shape[-1]).float()
        codes = best_scored_codes(flat, lambda rows: rows @ directions, directions.shape[1])
    return codes.view(vectors.shape[:-1])


def nearest_codes_euclidean(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Find the row at the smallest Euclidean distance; arguments and result as for `nearest_codes`."""
    with torch.autocast(vectors.device.type, enabled=False):
        flat = vectors.reshape(-1, vectors.shape[-1]).float()
        table = codebook.float()
        bias = table.square().sum(dim=-1) / -2  # -|x - c|^2 / 2 without the |x|^2 that all codes share
        codes = best_scored_codes(flat, lambda rows: torch.addmm(bias, rows, table.T), len(table))
    return codes.view(vectors.shape[:-1])


# By the name of the distance that a tokenizer compares with.
NEAREST_CODES = {"cosine": nearest_codes, "euclidean": nearest_codes_euclidean}


def best_scored_codes(flat: Tensor, score: Callable[[Tensor], Tensor], codebook_size: int) -> Tensor:
    """Find the code (R,) with the highest score for vectors (R, D), ties to the lowest code.

    `score` makes scores (r, K) of as many vectors at a time as fit the cache (CPU) or the memory (accelerator).
    """
    on_cpu = flat.device.type == "cpu"
    bound = _CPU_SCORE_ELEMENTS * torch.get_num_threads() if on_cpu else _DEVICE_SCORE_ELEMENTS
    step = max(1, bound // codebook_size)
    codes = torch.empty(flat.shape[0], dtype=torch.int64, device=flat.device)
    for start in range(0, flat.shape[0], step):
        codes[start : start + step] = _argmax_last(score(flat[start : start + step]))
    return codes


def _argmax_last(scores: Tensor) -> Tensor:
    """Return the first index of the largest value in each row, (R, K) to (R,)."""
    if scores.device.type == "cpu" and not torch.compiler.is_compiling():
        # numpy's argmax is vectorised where torch's on the CPU is not; the tie rule is the same.
        return torch.from_numpy(scores.detach().numpy().argmax(axis=-1))
    return scores.argmax(dim=-1)


def nearest_neighbours(
    codebook: np.ndarray, count: int, distance: str = "cosine", progress: Callable[[int, int], None] | None = None
) -> dict[int, list[int]]:
    """Find `count` nearest other codes of every code of a codebook (K, D): the synonyms of Token-EDA.

    The nearest comes first, of equally near ones the lower code. `progress` is called with the codes done and K.
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
    step = max(1, _NEIGHBOUR_SCORES // size)
    table: dict[int, list[int]] = {}
    for start in range(0, size, step):
        part = rows[start : start + step]
        scores = part @ rows.T - half_norms  # (r, K), larger is nearer
        scores.diagonal(start).fill_(-torch.inf)
        worst = scores.topk(count).values[:, -1:]
        better, equal = scores > worst, scores == worst  # topk takes any of equal ones
        left = count - better.sum(dim=1, keepdim=True)
        kept = better | (equal & (equal.cumsum(dim=1) <= left))
        codes = kept.nonzero()[:, 1].view(-1, count)  # (r, count), ascending
        order = scores.gather(1, codes).argsort(dim=1, descending=True, stable=True)
        table.update(enumerate(codes.gather(1, order).tolist(), start))
        if progress is not None:
            progress(start + len(part), size)
    return table
