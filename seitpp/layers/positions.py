"""Fixed sine-cosine positions of a grid, shared by masked token modelling, ViT-VQGAN and the converters.

The 2-d form of MAE and ViT-VQGAN: an analytic function of row and column, so it exists for every grid.
"""

import torch
from torch import Tensor

_TEMPERATURE = 10000.0


def sincos_position_table(
    grid: tuple[int, int], dims: int, cls_token: bool = False, computed_in: torch.dtype = torch.float32
) -> Tensor:
    """Make fixed 2-d sine-cosine positions, row by row, with the column in the first half of the values.

    With D = `dims` and frequencies w_k = 10000^(-k / (D/4)), k = 0 .. D/4-1, position (r, c) has the values
    [sin(c w), cos(c w), sin(r w), cos(r w)].

    Args:
        grid: Rows and columns.
        dims: Values per position, divisible by 4.
        cls_token: Whether a row of zeros comes first.
        computed_in: Type of the arithmetic. ViT-VQGAN's published tables were made in float64 and rounded; the two
            differ by less than 1e-6.

    Returns:
        (1, [1 +] rows * columns, dims), float32.
    """
    if dims % 4 or dims <= 0:
        raise ValueError(f"sine-cosine positions need a positive number of values divisible by 4, got {dims}")
    rows, columns = grid
    quarter = dims // 4
    exponents = torch.arange(quarter, dtype=computed_in) / quarter
    frequencies = 1.0 / _TEMPERATURE**exponents
    across = torch.outer(torch.arange(columns, dtype=computed_in), frequencies)  # (columns, dims / 4)
    down = torch.outer(torch.arange(rows, dtype=computed_in), frequencies)  # (rows, dims / 4)
    across = torch.cat((across.sin(), across.cos()), dim=1).expand(rows, -1, -1)
    down = torch.cat((down.sin(), down.cos()), dim=1)[:, None].expand(-1, columns, -1)
    table = torch.cat((across, down), dim=2).reshape(1, rows * columns, dims).float()
    return torch.cat((table.new_zeros(1, 1, dims), table), dim=1) if cls_token else table
