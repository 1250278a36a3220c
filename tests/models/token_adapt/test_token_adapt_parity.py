"""TokenAdapt against numbers of the reference; sizes come from the fixtures, weights through the converter."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.golden import golden_token_adapt, golden_weights, load_golden
from seitpp.converters import from_release, grid_sides
from seitpp.models import TokenAdapt

pytestmark = pytest.mark.parity

CONVERSION, REVERSE = "tokenadapt_conversion.npz", "tokenadapt_reverse.npz"


def released_weights() -> dict[str, torch.Tensor]:
    """The checkpoint that the two fixtures' weights are of."""
    return {**golden_weights(load_golden(CONVERSION)), **golden_weights(load_golden(REVERSE))}


def build(fixture: str) -> TokenAdapt:
    """The sizes of one fixture and the weights of its direction; the other direction is not to be used."""
    golden, weights = load_golden(fixture), released_weights()
    codebook_size, code_dim = load_golden(CONVERSION)["in/codebook"].shape
    grid, out_grid = grid_sides(weights, "tokenadapt")
    model = TokenAdapt(
        codebook_size,
        code_dim,
        grid=grid,
        out_grid=out_grid,
        map_dims=weights["conversion_function.1.to_pixel.1.bias"].numel(),
        **golden_token_adapt(golden),
    )
    part = "conversion." if fixture == CONVERSION else "reversal."
    ours = from_release(weights, "tokenadapt")[0]
    own = {name.removeprefix(part): value for name, value in ours.items() if name.startswith(part)}
    model.get_submodule(part.rstrip(".")).load_state_dict(own)
    return model.eval()


@pytest.fixture(scope="module")
def converting() -> TokenAdapt:
    return build(CONVERSION)


@pytest.fixture(scope="module")
def reversing() -> TokenAdapt:
    return build(REVERSE)


@torch.no_grad()
def converted(model: TokenAdapt, golden: dict) -> torch.Tensor:
    codebook, codes = torch.from_numpy(golden["in/codebook"]), torch.from_numpy(golden["in/codes"])
    return model.convert(F.embedding(codes, codebook).permute(0, 3, 1, 2))


def test_conversion_makes_the_map(converting: TokenAdapt) -> None:
    golden = load_golden(CONVERSION)
    maps = converted(converting, golden)
    assert maps.shape == tuple(golden["out/map_shape"])
    expected = torch.from_numpy(golden["out/map_rows"])
    torch.testing.assert_close(maps[:, :, golden["in/rows"]], expected, atol=5e-6, rtol=0)
    mean, std = maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))
    torch.testing.assert_close(mean, torch.from_numpy(golden["out/map_mean"]), atol=5e-6, rtol=0)
    torch.testing.assert_close(std, torch.from_numpy(golden["out/map_std"]), atol=5e-6, rtol=0)


def test_conversion_of_codes_looks_the_first_layers_up(converting: TokenAdapt) -> None:
    golden = load_golden(CONVERSION)
    with torch.no_grad():
        table = converting.code_tables(torch.from_numpy(golden["in/codebook"]))
        maps = converting.convert_codes(torch.from_numpy(golden["in/codes"]), table)
    expected = torch.from_numpy(golden["out/map_rows"])
    torch.testing.assert_close(maps[:, :, golden["in/rows"]], expected, atol=5e-6, rtol=0)


def test_reversal_scores_the_codes(reversing: TokenAdapt) -> None:
    golden = load_golden(REVERSE)
    with torch.no_grad():
        logits = reversing.reverse(torch.from_numpy(golden["in/map"]))
    flat = logits.flatten(1, 2)
    expected = torch.from_numpy(golden["out/logits"])
    torch.testing.assert_close(flat[:, golden["in/logit_idx"]], expected, atol=5e-6, rtol=0)
    lse = torch.from_numpy(golden["out/logits_lse"])
    torch.testing.assert_close(flat.logsumexp(dim=-1), lse, atol=5e-6, rtol=0)
    assert np.array_equal(logits.argmax(dim=-1), golden["out/codes"])
    top = logits.topk(2).values
    margin = torch.from_numpy(golden["out/top2_margin"])
    torch.testing.assert_close(top[..., 0] - top[..., 1], margin, atol=1e-5, rtol=0)


def test_reversed_codes_are_the_most_likely(reversing: TokenAdapt) -> None:
    golden = load_golden(REVERSE)
    assert np.array_equal(reversing.reverse_codes(torch.from_numpy(golden["in/map"])), golden["out/codes"])


def test_conversion_crop_and_reversal_give_the_codes(converting: TokenAdapt, reversing: TokenAdapt) -> None:
    maps = converted(converting, load_golden(CONVERSION))
    top, left = [(full - out) // 2 for full, out in zip(converting.map_grid, reversing.out_map_grid, strict=True)]
    rows, columns = reversing.out_map_grid
    codes = reversing.reverse_codes(maps[..., top : top + rows, left : left + columns])
    assert np.array_equal(codes, load_golden(REVERSE)["out/e2e_codes"])


def test_full_size_has_the_published_number_of_weights() -> None:
    counts = load_golden(CONVERSION)["meta"]["fullsize_param_counts"]
    with torch.device("meta"):
        model = TokenAdapt(391, 32)
    for part, name in ((model.conversion, "conversion_function"), (model.reversal, "reverse_transform")):
        learnable = sum(parameter.numel() for parameter in part.parameters())
        assert learnable == counts[name]["trainable_flag"]
        assert learnable + part.positions.numel() == counts[name]["all"]
