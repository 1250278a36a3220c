"""TokenAdapt: shapes of any grid, both directions, what they refuse; numbers are in test_token_adapt_parity.py."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seitpp.layers.positions import sincos_position_table
from seitpp.models import TokenAdapt
from seitpp.registry import MODELS

K, D = 11, 6
SIZES = dict(codebook_size=K, code_dim=D, grid=(4, 6), out_grid=(3, 5), dims=16, num_heads=2, head_dims=8, mlp_dims=24)


def build(**changes: object) -> TokenAdapt:
    torch.manual_seed(0)
    model = MODELS.build({"type": "seitpp.TokenAdapt", **SIZES, **changes})
    model.init_weights()
    return model


@pytest.fixture
def embeddings() -> torch.Tensor:
    return torch.randn(2, D, 4, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.randn(2, D, 6, 10, generator=torch.Generator().manual_seed(2))


def test_a_map_has_two_by_two_positions_per_token(embeddings: torch.Tensor) -> None:
    model = build()
    assert model.convert(embeddings).shape == (2, D, *model.map_grid) == (2, D, 8, 12)
    assert model.out_map_grid == (6, 10) and model.map_stride == 2


def test_channels_of_the_map_may_be_other_than_those_of_a_code(embeddings: torch.Tensor) -> None:
    model = build(map_dims=5, out_grid=(4, 6), depth=2)
    maps = model.convert(embeddings)
    assert maps.shape == (2, 5, 8, 12) and model.reverse(maps).shape == (2, 4, 6, K)


def test_a_token_has_its_own_positions_of_the_map(embeddings: torch.Tensor) -> None:
    """Without attention and MLP, what a token holds reaches its 2 x 2 positions alone; so it does on the way back."""
    model = build(out_grid=(4, 6))
    for part in (model.conversion, model.reversal):
        for layer in part.transformer.layers:
            for linear in (layer.out, layer.fc2):
                nn.init.zeros_(linear.weight)
    changed = embeddings.clone()
    changed[:, :, 1, 4] += 1
    differs = (model.convert(changed) != model.convert(embeddings)).any(dim=1)
    assert differs[:, 2:4, 8:10].all() and differs.sum() == 2 * 4
    maps = model.convert(embeddings)
    moved = maps.clone()
    moved[:, :, 3, 8] += 1
    differs = (model.reverse(moved) != model.reverse(maps)).any(dim=-1)
    assert differs[:, 1, 4].all() and differs.sum() == 2


def test_looked_up_codes_are_converted_as_their_embeddings() -> None:
    model, codebook = build(depth=2), torch.randn(K, D)
    for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    codes = torch.randint(K, (2, 4, 6))
    looked_up = model.convert_codes(codes.int(), model.code_tables(codebook))
    embedded = model.convert(F.embedding(codes, codebook).permute(0, 3, 1, 2))
    torch.testing.assert_close(looked_up, embedded, atol=1e-6, rtol=1e-5)


def test_tables_in_a_shorter_type_hold_the_first_layer_alone() -> None:
    model, codebook, codes = build(), torch.randn(K, D), torch.randint(K, (2, 4, 6))
    tables = model.code_tables(codebook)
    assert tables.to(torch.float32) is tables
    short = tables.to(torch.bfloat16)
    assert short.codes_qkv is None and short.embedded.dtype == torch.bfloat16
    found = model.reduced(torch.bfloat16).convert_codes(codes, short)
    torch.testing.assert_close(found.float(), model.convert_codes(codes, tables), atol=0.05, rtol=0.05)


def test_reversed_codes_are_the_largest_logits_and_have_no_gradient(maps: torch.Tensor) -> None:
    model = build()
    codes = model.reverse_codes(maps)
    assert torch.equal(codes, model.reverse(maps).argmax(dim=-1)) and not codes.requires_grad
    assert codes.dtype == torch.int64


def test_codes_of_maps_that_are_not_numbers_are_codes(maps: torch.Tensor) -> None:
    codes = build().reverse_codes(maps * torch.nan)
    assert codes.min() >= 0 and codes.max() < K


def test_reversed_codes_under_autocast_are_near_those_in_float32(maps: torch.Tensor) -> None:
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        codes = model.reverse_codes(maps)
    assert (codes == model.reverse_codes(maps)).float().mean() > 0.8


def test_both_directions_are_differentiable(embeddings: torch.Tensor) -> None:
    model = build(out_grid=(4, 6))
    model.reverse(model.convert(embeddings)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_no_position_table_is_in_a_checkpoint() -> None:
    model = build()
    assert not [name for name in model.state_dict() if "position" in name]
    assert torch.equal(model.conversion.positions, sincos_position_table((4, 6), 16))
    assert torch.equal(model.reversal.positions, sincos_position_table((3, 5), 16))


def test_weights_fit_another_grid() -> None:
    other = build(grid=5, out_grid=4)
    other.load_state_dict(build().state_dict())
    assert other.convert(torch.randn(1, D, 5, 5)).shape == (1, D, 10, 10)


def test_weights_start_small_and_biases_at_zero() -> None:
    model = build()
    assert not model.conversion.to_map.bias.any() and not model.reversal.head.bias.any()
    limit = (6 / (16 + 4 * D)) ** 0.5  # Xavier's, of the 2 x 2 stride-2 convolutions as linear layers
    for weight in (model.conversion.to_map.weight, model.reversal.from_map.weight):
        assert 0.9 * limit < weight.abs().max() <= limit


def test_an_init_cfg_replaces_the_usual_start() -> None:
    model = build(init_cfg=dict(type="Constant", layer="Linear", val=0.5))
    assert (model.reversal.head.weight == 0.5).all()


def test_without_a_codebook_values_come_back(maps: torch.Tensor) -> None:
    model = build(codebook_size=None)
    assert model.regresses and model.reverse(maps).shape == (2, 3, 5, D)
    with pytest.raises(ValueError, match="has no codes; use reverse"):
        model.reverse_codes(maps)


def test_without_a_codebook_values_are_normalised_and_brought_back(
    embeddings: torch.Tensor, maps: torch.Tensor
) -> None:
    model = build(codebook_size=None)
    converted, values = model.convert(embeddings), model.reverse(maps)
    mean, std = torch.linspace(-3, 3, D), torch.linspace(1, 9, D)
    model.mean.copy_(mean)
    model.std.copy_(std)
    scaled = embeddings * std[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(model.convert(scaled), converted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.reverse(maps), values * std + mean, atol=1e-5, rtol=1e-5)


def test_only_a_regression_keeps_moments() -> None:
    moments = {"mean", "std"}
    assert not moments & build().state_dict().keys()
    assert moments <= build(codebook_size=None).state_dict().keys()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 7, 4, 6), r"converts 6 values per token, but was given \(2, 7, 4, 6\); set token_adapt.code_dim"),
        ((2, D, 24), r"converts 6 values per token, but was given \(2, 6, 24\)"),
        ((2, D, 6, 4), "converts grids of 4 x 6 tokens, but was given 6 x 4; set token_adapt.grid"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build().convert(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(K + 1, D), (K, D - 1)])
def test_codebook_of_another_size_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"scores {K} codes of {D} values, but was given a codebook of {shape[0]} x"):
        build().code_tables(torch.zeros(shape))


def test_codes_of_another_grid_are_refused() -> None:
    model = build()
    with pytest.raises(ValueError, match="converts grids of 4 x 6 tokens, but was given 4 x 5"):
        model.convert_codes(torch.zeros(1, 4, 5, dtype=torch.int64), model.code_tables(torch.zeros(K, D)))


@pytest.mark.parametrize("method", ["reverse", "reverse_codes"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 7, 6, 10), "reverses maps of 6 channels, but was given .* set token_adapt.map_dims"),
        (
            (2, D, 8, 12),
            r"maps of 6 x 10 positions \(3 x 5 tokens\), but was given 8 x 12; set token_adapt.out_grid",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused(method: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(build(), method)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(grid=(4, 0)), r"grid must be one positive number of tokens or two \(rows, columns\), got \(4, 0\)"),
        (dict(out_grid=(1, 2, 3)), "out_grid must be"),
        (dict(depth=0), "depth must be at least 1, got 0"),
        (dict(codebook_size=0), "codebook_size must be at least 1"),
        (dict(dims=18), "divisible by 4, got 18"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenAdapt(**{**SIZES, **changes})
