"""The release's TokenAdapt to ours and back: by name, out of other checkpoints, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.golden import golden_token_adapt, load_golden
from helpers.tools import tool_main
from seitpp.augment import TokenAdaptAugment
from seitpp.converters import from_release, grid_sides, to_release
from seitpp.layers.positions import sincos_position_table
from seitpp.models import TokenAdapt

LAYOUT = "tokenadapt"
FIXTURES = ("tokenadapt_conversion.npz", "tokenadapt_reverse.npz")
TABLES = ("conversion_function.1.de_pos_embedding", "reverse_transform.0.en_pos_embedding")


def weights_of(*fixtures: str) -> dict[str, Tensor]:
    arrays = {key: value for name in fixtures for key, value in load_golden(name).items()}
    return {key[3:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("sd/")}


@pytest.fixture
def theirs() -> dict[str, Tensor]:
    return weights_of(*FIXTURES)


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("convert_checkpoint.py")


def small(**changes: object) -> TokenAdapt:
    sizes = dict(grid=4, out_grid=3, dims=16, num_heads=2, head_dims=8, mlp_dims=24)
    return TokenAdapt(11, 6, **{**sizes, **changes})


@pytest.mark.parity
def test_there_and_back_gives_the_same_weights(theirs: dict[str, Tensor]) -> None:
    ours, dropped = from_release(theirs, LAYOUT)
    assert sorted(dropped) == sorted(TABLES)
    back, ours_dropped = to_release(ours, LAYOUT, grid_sides(theirs, LAYOUT))
    assert ours_dropped == [] and back.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(back[name], value, atol=2e-6 if name in TABLES else 0, rtol=0)


@pytest.mark.parametrize("depth", [1, 3])
def test_back_and_there_gives_the_same_weights(depth: int) -> None:
    ours = small(depth=depth).state_dict()
    again, _ = from_release(to_release(ours, LAYOUT, sides=(4, 3))[0], LAYOUT)
    assert again.keys() == ours.keys() and all(torch.equal(again[name], ours[name]) for name in ours)


def test_grids_are_read_off_the_tables() -> None:
    released, _ = to_release(small().state_dict(), LAYOUT, sides=(4, 3))
    assert grid_sides(released, LAYOUT) == (4, 3)
    assert grid_sides({}, "mtm") == ()


@pytest.mark.parity
@pytest.mark.parametrize("fixture", ["mtm_forward.npz", "mtm_finetune_forward.npz"])
def test_it_is_taken_out_of_a_model_that_contains_it(theirs: dict[str, Tensor], fixture: str) -> None:
    model = weights_of(fixture)
    ours, dropped = from_release({**model, **theirs}, LAYOUT)
    assert ours.keys() == from_release(theirs, LAYOUT)[0].keys()
    assert set(dropped) == {*model, *TABLES}


def test_unknown_weights_beside_it_are_refused(theirs: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"release checkpoint \(tokenadapt\) .* unknown keys: blocks\.0\.extra$"):
        from_release({**theirs, "blocks.0.extra": torch.zeros(1)}, LAYOUT)


@pytest.mark.parametrize("name", ["conversion_function.0.weight", "reverse_transform.1.bias", *TABLES])
def test_a_missing_key_is_refused(theirs: dict[str, Tensor], name: str) -> None:
    del theirs[name]
    with pytest.raises(ValueError, match=f"missing keys: {name}$".replace(".", r"\.")):
        from_release(theirs, LAYOUT)


def test_a_missing_block_is_refused() -> None:
    released, _ = to_release(small(depth=3).state_dict(), LAYOUT, sides=(4, 3))
    kept = {
        name: value for name, value in released.items() if "conversion_function.1.transformer.layers.1." not in name
    }
    with pytest.raises(
        ValueError, match=r"missing keys: conversion_function\.1\.transformer\.layers\.1\.0\.fn\.to_qkv"
    ):
        from_release(kept, LAYOUT)


@pytest.mark.parametrize("name", TABLES)
def test_positions_that_were_trained_are_refused(theirs: dict[str, Tensor], name: str) -> None:
    theirs[name] = theirs[name].clone()
    theirs[name][0, 5, 3] += 1e-4
    side = round(theirs[name].shape[1] ** 0.5)
    with pytest.raises(
        ValueError, match=rf"{name} differs by 0\.0001 from the sine-cosine positions of {side} x {side}"
    ):
        from_release(theirs, LAYOUT)


def test_positions_that_are_not_numbers_are_refused(theirs: dict[str, Tensor]) -> None:
    theirs[TABLES[0]] = theirs[TABLES[0]] * torch.nan
    with pytest.raises(ValueError, match="differs by nan"):
        from_release(theirs, LAYOUT)


def test_positions_of_no_square_are_refused(theirs: dict[str, Tensor]) -> None:
    theirs[TABLES[0]] = sincos_position_table((32, 31), theirs[TABLES[0]].shape[2])
    with pytest.raises(ValueError, match=r"has the shape \(1, 992, \d+\); expected .* positions of a square grid"):
        from_release(theirs, LAYOUT)


def test_a_training_run_is_exported_without_its_other_weights() -> None:
    ours = small().state_dict()
    run = {**{f"token_adapt.{name}": value for name, value in ours.items()}, "codebook": torch.zeros(11, 6)}
    released, dropped = to_release(run, LAYOUT, sides=(4, 3))
    assert released.keys() == to_release(ours, LAYOUT, sides=(4, 3))[0].keys() and dropped == ["codebook"]


def test_a_regression_has_no_released_form() -> None:
    with pytest.raises(ValueError, match=r"checkpoint \(tokenadapt\) .* unknown keys: mean, std$"):
        to_release(TokenAdapt(None, 6, 4, 3, dims=16).state_dict(), LAYOUT)


@pytest.mark.parity
def test_the_tool_converts_what_the_augmentation_reads(
    main: Callable, tmp_path: Path, theirs: dict[str, Tensor], capsys: pytest.CaptureFixture
) -> None:
    golden, source, target = load_golden(FIXTURES[0]), tmp_path / "release.pth", tmp_path / "ours.pth"
    torch.save({"model": {**weights_of("mtm_forward.npz"), **theirs}, "epoch": 400}, source)
    assert main([LAYOUT, str(source), str(target)]) == 0
    before, after = grid_sides(theirs, LAYOUT)
    grids = f"made for grids of {before} x {before} and {after} x {after} tokens (grid, out_grid)"
    assert grids in capsys.readouterr().out
    codebook_size, code_dim = golden["in/codebook"].shape
    sizes = dict(grid=before, out_grid=after, map_dims=theirs["conversion_function.1.to_pixel.1.bias"].numel())
    augment = TokenAdaptAugment(
        dict(codebook_size=codebook_size, code_dim=code_dim, **sizes, **golden_token_adapt(golden)),
        target,
        [dict(type="seitpp.BatchCenterCrop", size=tuple(load_golden(FIXTURES[1])["in/map"].shape[-2:]))],
    )
    batch = {"inputs": torch.from_numpy(golden["in/codes"]), "codebook": torch.from_numpy(golden["in/codebook"])}
    expected = torch.from_numpy(load_golden(FIXTURES[1])["out/e2e_codes"])
    assert torch.equal(augment(batch)["inputs"], expected)


def test_the_tool_exports_for_the_grids_it_is_told(main: Callable, tmp_path: Path) -> None:
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    torch.save({"state_dict": small().state_dict()}, ours)
    assert main([LAYOUT, str(ours), str(back), "--to-release", "--grids", "4", "3"]) == 0
    assert grid_sides(torch.load(back, weights_only=True), LAYOUT) == (4, 3)


def test_grids_go_with_the_export_alone(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([LAYOUT, "a.pth", "b.pth", "--grids", "4", "3"])
    assert "--grids is for tokenadapt with --to-release" in capsys.readouterr().err


@pytest.mark.parametrize("wrapped", [True, False])
def test_export_has_the_names_at_its_top_and_both_forms_are_read(
    main: Callable, wrapped: bool, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    """The authors' scripts read the top level and take what they find: under a key they would find nothing."""
    torch.save({"model": theirs} if wrapped else theirs, tmp_path / "theirs.pth")
    assert main([LAYOUT, str(tmp_path / "theirs.pth"), str(tmp_path / "ours.pth")]) == 0
    sides = [str(side) for side in grid_sides(theirs, LAYOUT)]
    line = [LAYOUT, str(tmp_path / "ours.pth"), str(tmp_path / "back.pth"), "--to-release", "--grids", *sides]
    assert main(line) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(back[name], value, atol=2e-6, rtol=0)
