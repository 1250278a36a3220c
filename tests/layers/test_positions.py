"""Sine-cosine positions: against a slow formula, and what is refused; more numbers are in test_mtm_parity."""

import math

import pytest
import torch
from mmpretrain.models.utils import build_2d_sincos_position_embedding

from helpers.golden import load_golden
from seitpp.layers.positions import sincos_position_table


@pytest.mark.parametrize("computed_in", [torch.float32, torch.float64])
def test_against_the_formula(computed_in: torch.dtype) -> None:
    rows, columns, dims = 3, 5, 8
    table = sincos_position_table((rows, columns), dims, computed_in=computed_in)[0]
    assert table.shape == (rows * columns, dims) and table.dtype == torch.float32
    for row in range(rows):
        for column in range(columns):
            frequencies = [10000 ** (-k / (dims / 4)) for k in range(dims // 4)]
            parts = [(math.sin, column), (math.cos, column), (math.sin, row), (math.cos, row)]
            expected = [function(place * frequency) for function, place in parts for frequency in frequencies]
            assert table[row * columns + column].tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 7)])
def test_same_numbers_as_mmpretrain_with_rows_and_columns_swapped(rows: int, columns: int) -> None:
    theirs = build_2d_sincos_position_embedding((rows, columns), 16).view(columns, rows, 16).transpose(0, 1)
    assert torch.equal(sincos_position_table((rows, columns), 16), theirs.reshape(1, -1, 16))


def test_class_token_gets_zeros() -> None:
    table = sincos_position_table((2, 3), 4, cls_token=True)
    assert table.shape == (1, 7, 4) and not table[0, 0].any()
    assert torch.equal(table[:, 1:], sincos_position_table((2, 3), 4))


@pytest.mark.parametrize("dims", [0, 6, -4])
def test_width_that_is_not_divisible_by_four_is_refused(dims: int) -> None:
    with pytest.raises(ValueError, match=f"divisible by 4, got {dims}"):
        sincos_position_table((2, 2), dims)


@pytest.mark.parity
@pytest.mark.parametrize("side", ["encoder.en_pos_embedding", "decoder.de_pos_embedding"])
def test_float64_gives_the_published_table(side: str) -> None:
    published = torch.from_numpy(load_golden("vitvqgan.npz")[f"sd/{side}"])
    grid = round(published.shape[1] ** 0.5)
    table = sincos_position_table((grid, grid), published.shape[2], computed_in=torch.float64)
    torch.testing.assert_close(table, published, atol=1e-7, rtol=0)
