"""Flips and affine maps as functions of their draws."""

import pytest
import torch
import torchvision.transforms.functional as vision
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seitpp.augment.affine import Affines, Flips, affine_maps, affine_nearest, flip_maps


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 3, 5, 6)])
def test_flip_mirrors_the_chosen_samples_only(shape: tuple[int, ...]) -> None:
    maps = normal(*shape)
    found = flip_maps(maps, Flips(torch.tensor([True, False, False, True])))
    assert torch.equal(found[[0, 3]], maps[[0, 3]].flip(-1)) and torch.equal(found[1:3], maps[1:3])


def test_flip_twice_is_the_identity() -> None:
    maps, flips = normal(4, 3, 5, 6), Flips(torch.tensor([True, False, False, True]))
    assert torch.equal(flip_maps(flip_maps(maps, flips), flips), maps)


def affines(batch: int, angle: float = 0.0, x: float = 0.0, y: float = 0.0, scale: float = 1.0, **shear: float):
    """The same affine map for every sample."""
    return Affines(
        torch.full((batch,), angle),
        torch.tensor([[x, y]]).expand(batch, 2),
        torch.full((batch,), scale),
        torch.tensor([[shear.get("shear_x", 0.0), shear.get("shear_y", 0.0)]]).expand(batch, 2),
    )


def random_affines(batch: int) -> Affines:
    draws = torch.rand(6, batch, generator=torch.Generator().manual_seed(1))
    spread = 2 * draws - 1
    return Affines(180 * spread[0], 0.6 * spread[1:3].T, 0.5 + draws[3], 40 * spread[4:6].T)


def vision_affine(maps: Tensor, params: Affines, mode: InterpolationMode, fill: float | None) -> Tensor:
    """torchvision's result, sample by sample."""
    moved = []
    for place, one_map in enumerate(maps):
        share_x, share_y = params.translate[place].tolist()
        moved.append(
            vision.affine(
                one_map,
                params.angle[place].item(),
                [share_x * maps.shape[-1], share_y * maps.shape[-2]],
                params.scale[place].item(),
                params.shear[place].tolist(),
                interpolation=mode,
                fill=None if fill is None else [fill],
            )
        )
    return torch.stack(moved)


SINGLE = [
    dict(angle=31.0),  # at 30 degrees nearest places are ties, which fall either way
    dict(angle=-123.4),
    dict(x=0.23),
    dict(y=-0.17),
    dict(scale=1.3),
    dict(scale=0.6),
    dict(shear_x=15.0),
    dict(shear_y=-25.0),
    dict(angle=20.0, x=0.1, y=0.2, scale=0.9, shear_x=10.0, shear_y=5.0),
]


@pytest.mark.parametrize("options", SINGLE, ids=str)
@pytest.mark.parametrize("shape", [(12, 20), (15, 9)])
@pytest.mark.parametrize("fill", [0.0, 1.5, None])
def test_affine_equals_torchvision(options: dict, shape: tuple[int, int], fill: float | None) -> None:
    maps, params = normal(2, 3, *shape), affines(2, **options)
    expected = vision_affine(maps, params, InterpolationMode.BILINEAR, fill)
    torch.testing.assert_close(affine_maps(maps, params, fill), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("options", SINGLE, ids=str)
@pytest.mark.parametrize("shape", [(12, 20), (15, 9)])
def test_nearest_affine_equals_torchvision(options: dict, shape: tuple[int, int]) -> None:
    maps, params = normal(2, 3, *shape), affines(2, **options)
    expected = vision_affine(maps, params, InterpolationMode.NEAREST, 1.5)
    assert torch.equal(affine_nearest(maps, params, 1.5), expected)


def test_every_sample_has_its_own_affine_map() -> None:
    maps, params = normal(30, 2, 16, 24), random_affines(30)
    expected = vision_affine(maps, params, InterpolationMode.BILINEAR, 0.0)
    torch.testing.assert_close(affine_maps(maps, params), expected, atol=2e-5, rtol=0)
    expected = vision_affine(maps, params, InterpolationMode.NEAREST, 0.0)
    assert torch.equal(affine_nearest(maps, params, 0.0), expected)


def test_quarter_turn_is_the_exact_one() -> None:
    maps = normal(1, 3, 8, 8)
    found = affine_maps(maps, affines(1, angle=90.0))
    torch.testing.assert_close(found, maps.rot90(-1, (2, 3)), atol=1e-5, rtol=0)


def test_translation_by_whole_positions_shifts() -> None:
    maps = normal(1, 3, 8, 10)
    found = affine_maps(maps, affines(1, x=0.3, y=-0.25))
    expected = torch.zeros_like(maps)
    expected[:, :, :6, 3:] = maps[:, :, 2:, :7]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_unmoved_samples_stay_to_the_bit() -> None:
    maps, params = normal(3, 2, 9, 7), random_affines(3)
    neutral = torch.tensor([True, False, True])
    mixed = Affines(
        params.angle.masked_fill(neutral, 0),
        params.translate.masked_fill(neutral[:, None], 0),
        params.scale.masked_fill(neutral, 1),
        params.shear.masked_fill(neutral[:, None], 0),
    )
    found = affine_maps(maps, mixed, fill=3.0)
    assert torch.equal(found[neutral], maps[neutral]) and not torch.equal(found[1], maps[1])
    assert torch.equal(affine_nearest(maps, mixed, 3.0)[neutral], maps[neutral])


@pytest.mark.parametrize("options", SINGLE[:8], ids=str)
def test_each_parameter_alone_counts_as_moved(options: dict) -> None:
    maps = normal(1, 2, 9, 9)
    assert not torch.equal(affine_maps(maps, affines(1, **options)), maps)


def test_affine_map_means_the_same_at_every_resolution() -> None:
    """Blocks of 8 x 8 pixels around a place's centre move as the place does."""
    coarse, params = normal(20, 1, 8, 12), random_affines(20)
    fine = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    found = affine_nearest(fine, params, 9.0)
    centres = torch.stack([found[:, :, row::8, column::8] for row in (3, 4) for column in (3, 4)])
    # The centre of a coarse place lies between these four pixels; where they agree it is their value.
    agree = (centres == centres[0]).all(dim=0)
    assert agree.double().mean() > 0.7
    assert torch.equal(centres[0][agree], affine_nearest(coarse, params, 9.0)[agree])


def test_labels_are_moved_to_the_nearest_position_and_never_blended() -> None:
    labels = torch.randint(0, 2, (20, 12, 16), generator=torch.Generator().manual_seed(0)) * 65535
    found = affine_nearest(labels, random_affines(20), 255)
    assert set(found.unique().tolist()) == {0, 255, 65535}


def test_affine_computes_in_float32_at_least() -> None:
    maps, params = normal(2, 3, 9, 7), random_affines(2)
    half = affine_maps(maps.bfloat16(), params)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, affine_maps(maps.bfloat16().float(), params).bfloat16())
    assert affine_maps(maps.double(), params).dtype == torch.float64


def test_affine_has_the_gradient_of_torchvision() -> None:
    maps, params, weights = normal(2, 3, 9, 7).requires_grad_(), random_affines(2), normal(2, 3, 9, 7, seed=1)
    (found,) = torch.autograd.grad((affine_maps(maps, params) * weights).sum(), maps)
    expected = vision_affine(maps, params, InterpolationMode.BILINEAR, 0.0)
    (expected,) = torch.autograd.grad((expected * weights).sum(), maps)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_labels_keep_type_and_value(dtype: torch.dtype) -> None:
    value = 255 if dtype == torch.uint8 else 65535
    labels = torch.full((2, 6, 8), value).to(dtype)
    for moved in (
        flip_maps(labels, Flips(torch.tensor([True, False]))),
        affine_nearest(labels, affines(2, angle=10.0, scale=2.0), 255),
    ):
        assert moved.dtype == dtype and (moved.long() == value).all()
