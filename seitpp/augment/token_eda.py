"""Token-EDA: codes replaced by their synonyms, or two blocks of a sample's grid swapped (SeiT, Park et al., 2023)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seitpp.augment.base import ROUNDING, Augmentation, Device, Generator, check_probability
from seitpp.registry import TRANSFORMS
from seitpp.storage import StoreReader, load_synonyms

# Draws of a pair of blocks; all of them too near each other is a matter of 1 in 10 million at the default sizes.
_SWAP_TRIES = 16
_BUILD = "python tools/build_synonyms.py CODEBOOK OUT.json"
_GIVEN = "the given table of synonyms"


def sample_swaps(
    batch_size: int,
    grid: tuple[int, int],
    prob: float = 0.25,
    max_size: float = 0.25,
    generator: Generator = None,
    device: Device = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw which two blocks each sample swaps, all samples at once.

    As the release draws them: a side of int(min(H, W) * uniform(0, max_size)), then corners, which leave the last row
    and column out, until they are further apart than the side; a few blocks still overlap at a corner.

    Returns:
        Side of the blocks (B,), int64, 0 where nothing is swapped (all but the share `prob`); top and left of the first
        and of the second block, (B, 2) each, int64.
    """
    draws = torch.rand(2, batch_size, generator=generator, device=device)
    size = (min(grid) * max_size * draws[0]).long().clamp_(max=min(grid) - 1)
    corner_draws = torch.rand(4, batch_size, _SWAP_TRIES, generator=generator, device=device)
    rows, columns = ((side - size)[:, None] for side in grid)
    tops, lefts = (corner_draws[:2] * rows).long(), (corner_draws[2:] * columns).long()  # (2, B, tries)
    apart = (tops[0] - tops[1]).square() + (lefts[0] - lefts[1]).square() > size.square()[:, None]
    swapped = apart.any(dim=1) & (draws[1] < prob)
    chosen = apart.int().argmax(dim=1, keepdim=True)  # 0 where no try is good; nothing is swapped there
    corners = torch.stack([tops, lefts], dim=-1)  # (2, B, tries, 2)
    first, second = corners.gather(2, chosen[None, :, :, None].expand(2, -1, -1, 2)).squeeze(2)
    return torch.where(swapped, size, 0), first, second


def swap_blocks(
    maps: Tensor, size: Tensor, first: Tensor, second: Tensor, grid: tuple[int, int] | None = None
) -> Tensor:
    """Swap two square blocks of each sample. Both are read from the input; where they overlap, the second is written.

    Maps are codes (B, H, W) of any type, or label maps of the same images at a multiple of the resolution of `grid`, on
    which blocks are measured (by default the maps' own). `size` (B,) is the side of the blocks, 0 for no change;
    `first` and `second` (B, 2) are their tops and lefts, all int64.
    """
    rows, columns = grid or maps.shape[-2:]
    if maps.shape[-2] % rows or maps.shape[-1] % columns:
        raise ValueError(
            f"a map of {maps.shape[-2]} x {maps.shape[-1]} does not divide into the {rows} x {columns} positions whose "
            "blocks are swapped; give label maps a multiple of the token grid's size, or set swap_prob=0"
        )
    row = torch.arange(rows, device=maps.device)[None, :, None]
    column = torch.arange(columns, device=maps.device)[None, None, :]
    size = size[:, None, None]
    source_row, source_column = row, column
    for target, source in ((first, second), (second, first)):
        top, left = target[:, 0, None, None], target[:, 1, None, None]
        inside = (row >= top) & (row < top + size) & (column >= left) & (column < left + size)  # (B, H, W)
        source_row = torch.where(inside, row - top + source[:, 0, None, None], source_row)
        source_column = torch.where(inside, column - left + source[:, 1, None, None], source_column)
    cells = maps.unflatten(2, (columns, -1)).unflatten(1, (rows, -1)).transpose(2, 3)  # (B, H, W, h / H, w / W)
    sample = torch.arange(len(maps), device=maps.device)[:, None, None]
    return cells[sample, source_row, source_column].transpose(2, 3).reshape(maps.shape)


def replace_synonyms(codes: Tensor, table: Tensor, counts: Tensor, replaced: Tensor, draws: Tensor) -> Tensor:
    """Replace codes (B, H, W), of any integer type, by one of their synonyms; a code without any stays.

    Synonyms are a table (K, S) with `counts` (K,); `replaced` says where, (B, H, W), and `draws` which synonym, from
    the first (0) to the last (1).
    """
    index = codes.long()
    available = counts[index]
    synonyms = table[index, (draws * available).long()]
    return torch.where(replaced & (available > 0), synonyms.to(codes.dtype), codes)


def read_synonyms(source: str | Path | Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[int]]:
    """Return a table from code to similar codes, best first: given, of a JSON file, or of a token store."""
    if isinstance(source, Mapping):
        for value in (value for code, similar in source.items() for value in (code, *similar)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"{_GIVEN}: {value!r} is not a code, expected an integer of at least 0")
        return source
    if Path(source).is_dir():
        synonyms = StoreReader(source).synonyms
        if synonyms is None:
            raise ValueError(f"the store {source} carries no synonyms; name a file that {_BUILD} made of it")
        return synonyms
    if not Path(source).is_file():
        made_by = f"python tools/build_synonyms.py STORE {source}"
        raise FileNotFoundError(f"synonyms {source} do not exist; make them with {made_by} (STORE: that of training)")
    return load_synonyms(source)


def synonym_arrays(
    synonyms: Mapping[int, Sequence[int]], source: str, count: int, codebook_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return synonyms (K, count), int64, best first and padded with 0, and how many each code has, (K,), int64."""
    if not any(len(similar) for similar in synonyms.values()):
        raise ValueError(f"{source} holds no synonyms at all; make a table with {_BUILD}")
    largest = max(max((code, *similar)) for code, similar in synonyms.items())
    if largest >= codebook_size:
        raise ValueError(
            f"{source} names code {largest}, but the codebook has the codes 0 to {codebook_size - 1}; make a table for "
            f"this codebook with {_BUILD}"
        )
    table, counts = np.zeros((codebook_size, count), np.int64), np.zeros(codebook_size, np.int64)
    for code, similar in synonyms.items():
        kept = list(similar)[:count]
        table[code, : len(kept)], counts[code] = kept, len(kept)
    return table, counts


@TRANSFORMS.register_module()
class TokenEDA(Augmentation):
    """Token-EDA: each sample has codes replaced by synonyms, or two blocks of its grid swapped, or neither (SeiT).

    One draw per sample chooses, as the release does, so that no sample gets both. Acts on codes, so put it before
    everything that leaves embeddings. Labels of images do not change; label maps follow the swapped blocks.

    Required and modified key: `inputs`, codes (B, H, W), with `codebook` (K, D) beside them if there are synonyms;
    `gt_sem_seg` (B, h, w) is modified if it is there.

    Args:
        synonyms: Similar codes of each code, best first: a JSON file that `tools/build_synonyms.py` wrote, a token
            store that carries them, or a dict. Lists may differ in length; a code without one stays. Read at the
            first use. None is only for `synonym_prob=0`.
        synonym_prob: Share of the samples in which codes are replaced.
        token_prob: Share of the codes that are replaced in such a sample.
        num_synonyms: How many of the best synonyms to choose from.
        swap_prob: Share of the samples in which two blocks are swapped. With `synonym_prob` it must not exceed 1; what
            both leave to 1 is the share of the samples that stay.
        max_swap: Largest side of a block, as a share of the grid's shorter side.
    """

    compilable = ("_swap_blocks", "_replace_synonyms")
    _swap_blocks, _replace_synonyms = staticmethod(swap_blocks), staticmethod(replace_synonyms)

    def __init__(
        self,
        synonyms: str | Path | Mapping[int, Sequence[int]] | None = None,
        synonym_prob: float = 0.25,
        token_prob: float = 0.25,
        num_synonyms: int = 5,
        swap_prob: float = 0.25,
        max_swap: float = 0.25,
    ) -> None:
        if not 0 <= max_swap <= 1:
            raise ValueError(f"max_swap must be a share in [0, 1] of the grid's side, got {max_swap}")
        if num_synonyms < 1:
            raise ValueError(f"num_synonyms must be at least 1, got {num_synonyms}")
        if synonyms is None and synonym_prob > 0:
            raise ValueError(
                f"synonym_prob is {synonym_prob}, but there are no synonyms; make them with `python "
                "tools/build_synonyms.py CODEBOOK OUT.json` and set synonyms='OUT.json', or set synonym_prob=0"
            )
        self.synonyms = synonyms
        self.synonym_prob = check_probability("synonym_prob", synonym_prob)
        self.token_prob = check_probability("token_prob", token_prob)
        self.num_synonyms = num_synonyms
        self.swap_prob = check_probability("swap_prob", swap_prob)
        if synonym_prob + swap_prob > 1 + ROUNDING:
            raise ValueError(
                f"synonym_prob is {synonym_prob} and swap_prob {swap_prob}, {synonym_prob + swap_prob:g} together; "
                "a sample gets one of the two, so expected at most 1 together"
            )
        self.max_swap = max_swap

        self._tables: dict[tuple[int, torch.device], list[Tensor]] = {}

    def _table(self, codebook: Tensor) -> list[Tensor]:
        """Return the arrays of `synonym_arrays` on the codebook's device, to which they are copied once."""
        key = (len(codebook), codebook.device)
        if key not in self._tables:
            source = str(self.synonyms) if isinstance(self.synonyms, (str, Path)) else _GIVEN
            arrays = synonym_arrays(read_synonyms(self.synonyms), source, self.num_synonyms, len(codebook))
            self._tables[key] = [torch.from_numpy(array).to(codebook.device) for array in arrays]
        return self._tables[key]

    def prepare(self, metadata: Mapping, where: str, codebook: Tensor | None, codebook_sha256: str | None) -> None:
        """Read the synonyms before the first step, and refuse tokens without a codebook or synonyms of another one."""
        if codebook is None:
            raise ValueError(
                f"{where} holds values and no codes, on which TokenEDA acts; leave it out of the data preprocessor's "
                "augments, as configs/_base_/augments/seit_dct.py"
            )
        if self.synonym_prob > 0:
            self._table(codebook)

    def transform(self, results: dict) -> dict:
        codes = results["inputs"]
        if codes.is_floating_point():
            raise ValueError(
                f"TokenEDA was given embeddings {tuple(codes.shape)}, and it acts on codes (B, H, W); put it first in "
                "the data preprocessor's augments"
            )
        draw = torch.rand(len(codes), device=codes.device)
        if self.synonym_prob > 0:
            if results.get("codebook") is None:
                raise ValueError(
                    "TokenEDA compares its synonyms with the codebook, and the batch has no `codebook`; give the data "
                    "preprocessor one, or set synonym_prob=0"
                )
            draws = torch.rand(2, *codes.shape, device=codes.device)
            replaced = (draw < self.synonym_prob)[:, None, None] & (draws[0] < self.token_prob)
            table, counts = self._table(results["codebook"])
            codes = self._replace_synonyms(codes, table, counts, replaced, draws[1])
        if self.swap_prob > 0:
            grid = tuple(codes.shape[-2:])
            size, first, second = sample_swaps(len(codes), grid, 1.0, self.max_swap, device=codes.device)
            swapped = (draw >= self.synonym_prob) & (draw < self.synonym_prob + self.swap_prob)
            size = torch.where(swapped, size, 0)
            codes = self._swap_blocks(codes, size, first, second)
            if results.get("gt_sem_seg") is not None:
                results["gt_sem_seg"] = self._swap_blocks(results["gt_sem_seg"], size, first, second, grid)
        results["inputs"] = codes
        return results

    def __repr__(self) -> str:
        shown = super().__repr__()
        return shown.replace(repr(self.synonyms), "a table") if isinstance(self.synonyms, Mapping) else shown
