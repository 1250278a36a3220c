"""Crops as functions of their draws."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seitpp.augment import crops
from seitpp.augment.crops import (
    crop_boxes_from_draws,
    crop_labels,
    crop_resize,
    crop_resize_codes,
    crop_weights,
    sample_crop_boxes,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def resized_cut(one_map: Tensor, box: list[int], size: tuple[int, int]) -> Tensor:
    top, left, height, width = box
    cut = one_map[None, :, top : top + height, left : left + width]
    return F.interpolate(cut, size=size, mode="bicubic", align_corners=False)[0]


@st.composite
def maps_with_boxes(draw: st.DrawFn) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """A batch of maps, a box inside each, and a size."""
    batch, rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    boxes = []
    for _ in range(batch):
        height, width = draw(st.integers(1, rows)), draw(st.integers(1, columns))
        boxes.append([draw(st.integers(0, rows - height)), draw(st.integers(0, columns - width)), height, width])
    size = (draw(st.integers(1, 30)), draw(st.integers(1, 30)))
    return normal(batch, 3, rows, columns, seed=draw(st.integers(0, 99))), torch.tensor(boxes), size


@settings(max_examples=80, deadline=None)
@given(maps_with_boxes())
def test_crop_equals_interpolating_the_cut_out_box(case: tuple[Tensor, Tensor, tuple[int, int]]) -> None:
    maps, boxes, size = case
    expected = torch.stack([resized_cut(one_map, box, size) for one_map, box in zip(maps, boxes.tolist(), strict=True)])
    torch.testing.assert_close(crop_resize(maps, boxes, size), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_crop_of_codes_is_the_crop_of_their_embeddings(dtype: torch.dtype) -> None:
    codes = torch.randint(0, 50, (2, 9, 7), generator=torch.Generator().manual_seed(0))
    codebook, boxes = normal(50, 3), torch.tensor([[1, 2, 5, 4], [0, 0, 9, 7]])
    found = crop_resize_codes(codes.to(dtype), codebook, boxes, (6, 8))
    expected = crop_resize(F.embedding(codes, codebook).permute(0, 3, 1, 2), boxes, (6, 8))
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("elements", [1, 9 * 7 * 3 * 2, 9 * 7 * 3 * 4])
def test_chunking_changes_nothing(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, boxes = normal(5, 3, 9, 7), torch.tensor([[place, 1, 9 - place, 6] for place in range(5)])
    expected = crop_resize(maps, boxes, (6, 8))
    monkeypatch.setattr(crops, "_CPU_CHUNK_ELEMENTS", elements)
    torch.testing.assert_close(crop_resize(maps, boxes, (6, 8)), expected, atol=1e-6, rtol=0)


def test_crop_has_the_gradient_of_interpolating_the_cut_out_box() -> None:
    maps, box = normal(1, 3, 9, 7).requires_grad_(), [1, 2, 6, 5]
    weights = normal(3, 8, 8, seed=1)
    (found,) = torch.autograd.grad((crop_resize(maps, torch.tensor([box]), (8, 8))[0] * weights).sum(), maps)
    (expected,) = torch.autograd.grad((resized_cut(maps[0], box, (8, 8)) * weights).sum(), maps)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_gradient_or_not_the_crop_is_the_same() -> None:
    maps, boxes = normal(2, 3, 9, 7), torch.tensor([[1, 2, 5, 4], [0, 0, 9, 7]])
    with_gradient = crop_resize(maps.clone().requires_grad_(), boxes, (6, 8)).detach()
    torch.testing.assert_close(with_gradient, crop_resize(maps, boxes, (6, 8)), atol=1e-6, rtol=0)


def test_empty_batch_stays_empty() -> None:
    assert crop_resize(normal(0, 3, 9, 7), torch.zeros(0, 4, dtype=torch.int64), (6, 8)).shape == (0, 3, 6, 8)


@pytest.mark.parametrize("grid", [(32, 32), (5, 9), (1, 1)])
def test_full_box_at_the_same_size_is_the_identity(grid: tuple[int, int]) -> None:
    maps = normal(2, 3, *grid)
    assert torch.equal(crop_resize(maps, torch.tensor([[0, 0, *grid]] * 2), grid), maps)


def test_box_at_its_own_size_is_the_cut_out_box() -> None:
    maps = normal(1, 3, 12, 10)
    assert torch.equal(crop_resize(maps, torch.tensor([[2, 3, 7, 5]]), (7, 5)), maps[:, :, 2:9, 3:8])


def test_every_sample_gets_its_own_box() -> None:
    maps = normal(1, 3, 12, 12).expand(2, -1, -1, -1)
    both = crop_resize(maps, torch.tensor([[0, 0, 6, 6], [6, 6, 6, 6]]), (6, 6))
    assert torch.equal(both[0], maps[0, :, :6, :6]) and torch.equal(both[1], maps[1, :, 6:, 6:])


def test_crop_is_linear_in_the_map() -> None:
    first, second, boxes = normal(2, 3, 9, 9), normal(2, 3, 9, 9, seed=1), torch.tensor([[1, 2, 5, 6], [0, 0, 9, 3]])
    together = crop_resize(2 * first - 3 * second, boxes, (7, 7))
    apart = 2 * crop_resize(first, boxes, (7, 7)) - 3 * crop_resize(second, boxes, (7, 7))
    torch.testing.assert_close(together, apart, atol=2e-5, rtol=0)


def test_crop_keeps_the_type_of_the_maps() -> None:
    assert crop_resize(normal(1, 3, 8, 8).double(), torch.tensor([[0, 0, 8, 8]]), (4, 4)).dtype == torch.float64


def test_crop_computes_in_float32_at_least() -> None:
    maps, boxes = normal(2, 3, 9, 7), torch.tensor([[1, 2, 5, 4], [0, 0, 9, 7]])
    expected = crop_resize(maps.bfloat16().float(), boxes, (6, 8))
    assert torch.equal(crop_resize(maps.bfloat16(), boxes, (6, 8)), expected.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(crop_resize(maps.bfloat16().float(), boxes, (6, 8)), expected)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 40), st.integers(1, 40))
def test_weights_sum_to_one_and_stay_inside_the_crop(data: st.DataObject, in_size: int, out_size: int) -> None:
    length = data.draw(st.integers(1, in_size))
    start = data.draw(st.integers(0, in_size - length))
    weights = crop_weights(torch.tensor([start]), torch.tensor([length]), in_size, out_size)
    assert weights.shape == (1, out_size, in_size)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, out_size), atol=1e-5, rtol=0)
    outside = torch.ones(in_size, dtype=torch.bool)
    outside[start : start + length] = False
    assert (weights[..., outside] == 0).all()


def test_weights_of_doubling_are_the_kernel_at_quarter_positions() -> None:
    """The third of eight places falls on 0.75 between the taps at 0 and 1, worked out by hand with a = -0.75."""
    weights = crop_weights(torch.tensor([0]), torch.tensor([4]), 4, 8)[0, 2]

    def kernel(x: float) -> float:
        a = -0.75
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a

    # Taps -1, 0, 1, 2 around 0.75; the one at -1 is clamped to 0.
    expected = torch.tensor([kernel(1.75) + kernel(0.75), kernel(0.25), kernel(1.25), 0.0])
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [(32, 32), (64, 64), (24, 40), (7, 5)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.2, 1.0), (0.5, 0.6)])
def test_boxes_lie_inside_the_map(grid: tuple[int, int], scale: tuple[float, float]) -> None:
    top, left, height, width = sample_crop_boxes(2000, grid, scale).unbind(1)
    assert (height >= 1).all() and (width >= 1).all() and (top >= 0).all() and (left >= 0).all()
    assert (top + height <= grid[0]).all() and (left + width <= grid[1]).all()


def sample(number: int, scale: tuple[float, float], ratio: tuple[float, float] = (3 / 4, 4 / 3), side: int = 512):
    """Boxes on a map so fine that rounding hardly shows, as float64 columns."""
    generator = torch.Generator().manual_seed(0)
    return sample_crop_boxes(number, (side, side), scale, ratio, generator).double().unbind(1)


def test_area_share_stays_within_scale_and_is_uniform() -> None:
    _, _, height, width = sample(20000, (0.08, 0.5))  # up to 0.5 every ratio fits at the first try
    share = height * width / 512**2
    assert share.min() > 0.078 and share.max() < 0.502
    assert share.mean().item() == pytest.approx((0.08 + 0.5) / 2, abs=0.003)
    assert share.var().item() == pytest.approx((0.5 - 0.08) ** 2 / 12, rel=0.05)


def test_logarithm_of_the_ratio_is_uniform_in_its_range() -> None:
    _, _, height, width = sample(20000, (0.08, 0.5), ratio=(1 / 2, 4 / 3))
    log_ratio = (width / height).log()
    low, high = math.log(1 / 2), math.log(4 / 3)
    assert log_ratio.min() > low - 0.02 and log_ratio.max() < high + 0.02
    assert log_ratio.mean().item() == pytest.approx((low + high) / 2, abs=0.01)
    assert log_ratio.var().item() == pytest.approx((high - low) ** 2 / 12, rel=0.05)


def test_places_reach_both_borders_and_centre_on_average() -> None:
    top, left, height, width = sample(20000, (0.08, 0.5))
    for place, room in ((top, 512 - height), (left, 512 - width)):
        share = place / room
        assert share.min() < 0.001 and share.max() == 1
        assert share.mean().item() == pytest.approx(0.5, abs=0.01)


def test_all_places_of_a_small_map_are_equally_likely() -> None:
    top, left, height, width = sample_crop_boxes(
        30000, (4, 4), (4 / 16, 4 / 16), (1, 1), torch.Generator().manual_seed(0)
    ).unbind(1)
    assert (height == 2).all() and (width == 2).all()
    counts = torch.bincount(top * 3 + left, minlength=9)
    assert (counts.double() / 30000 - 1 / 9).abs().max() < 0.01


def test_boxes_of_a_batch_differ() -> None:
    assert len(sample_crop_boxes(64, (32, 32), (0.08, 1.0)).unique(dim=0)) > 40


def test_same_seed_same_boxes() -> None:
    def draw(seed: int) -> Tensor:
        return sample_crop_boxes(16, (32, 32), (0.08, 1.0), generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_default_generator_is_used_without_one() -> None:
    torch.manual_seed(3)
    first = sample_crop_boxes(16, (32, 32), (0.08, 1.0))
    torch.manual_seed(3)
    assert torch.equal(sample_crop_boxes(16, (32, 32), (0.08, 1.0)), first)


@pytest.mark.parametrize(
    ("grid", "ratio", "box"),
    [
        ((32, 32), (3, 4), (10, 0, 11, 32)),  # too wide for the map: rows 32 / 3 rounded, from (32 - 11) // 2
        ((32, 32), (1 / 4, 1 / 3), (0, 10, 32, 11)),  # too narrow
        ((10, 40), (1, 2), (0, 10, 10, 20)),
        ((40, 10), (1 / 2, 1), (10, 0, 20, 10)),
    ],
)
def test_nothing_fits_gives_the_largest_centred_box(
    grid: tuple[int, int], ratio: tuple[float, float], box: tuple[int, int, int, int]
) -> None:
    assert sample_crop_boxes(5, grid, (1.0, 1.0), ratio).tolist() == [list(box)] * 5


def test_nothing_fits_at_an_allowed_shape_gives_the_whole_map() -> None:
    area, log_ratio = torch.full((2, 10), 1.0), torch.full((2, 10), math.log(4 / 3))
    boxes = crop_boxes_from_draws(area, log_ratio, torch.zeros(2), torch.zeros(2), (6, 7), (3 / 4, 4 / 3))
    assert boxes.tolist() == [[0, 0, 6, 7]] * 2


def test_first_try_that_fits_is_taken() -> None:
    area = torch.tensor([[1.0, 0.25, 0.5]])
    log_ratio = torch.tensor([[4.0, 1.0, 1.0]]).log()  # 16 x 4 on an 8 x 8 map does not fit
    box = crop_boxes_from_draws(area, log_ratio, torch.tensor([0.999]), torch.tensor([0.0]), (8, 8), (3 / 4, 4 / 3))
    assert box.tolist() == [[4, 0, 4, 4]]


def test_crop_without_height_does_not_fit() -> None:
    area, log_ratio = torch.tensor([[0.01, 1.0]]), torch.tensor([[3.0, 0.0]])  # first: 3.6 wide, 0.2 high
    box = crop_boxes_from_draws(area, log_ratio, torch.zeros(1), torch.zeros(1), (8, 8), (3 / 4, 4 / 3))
    assert box.tolist() == [[0, 0, 8, 8]]


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 1, exclude_min=True),
    st.floats(-2, 2),
    st.floats(0, 1, exclude_max=True, width=32),
    st.floats(0, 1, exclude_max=True, width=32),
)
def test_any_draws_give_a_box_inside_the_map(
    rows: int, columns: int, area: float, log_ratio: float, top: float, left: float
) -> None:
    draws = [torch.tensor([[area] * 10]), torch.tensor([[log_ratio] * 10]), torch.tensor([top]), torch.tensor([left])]
    y, x, height, width = crop_boxes_from_draws(*draws, (rows, columns), (3 / 4, 4 / 3))[0].tolist()
    assert min(y, x) >= 0 and min(height, width) > 0 and y + height <= rows and x + width <= columns
    target, aspect = rows * columns * float(np.float32(area)), math.exp(np.float32(log_ratio))
    wanted = round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))
    if 0 < wanted[0] <= rows and 0 < wanted[1] <= columns:
        assert (height, width) == wanted


@settings(max_examples=40, deadline=None)
@given(maps_with_boxes(), st.integers(2, 4))
def test_box_on_a_coarser_lattice_is_its_multiple(case: tuple[Tensor, Tensor, tuple[int, int]], factor: int) -> None:
    maps, boxes, size = case
    places = tuple(maps.shape[-2:])
    fine = maps.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    assert torch.equal(crop_resize(fine, boxes, size, places), crop_resize(fine, boxes * factor, size))


def test_naming_the_own_lattice_changes_nothing() -> None:
    maps, boxes = normal(2, 3, 9, 7), torch.tensor([[1, 2, 5, 4], [0, 0, 9, 7]])
    assert torch.equal(crop_resize(maps, boxes, (6, 8), (9, 7)), crop_resize(maps, boxes, (6, 8)))


def test_box_between_places_reads_where_it_lies() -> None:
    """Places 3 ... 8 of 16 are 1.5 ... 4.5 of 8."""
    maps = normal(1, 3, 8, 8)
    found = crop_resize(maps, torch.tensor([[0, 3, 16, 6]]), (8, 12), (16, 16))
    x = 1.5 + (torch.arange(12) + 0.5) * 3 / 12
    y = torch.arange(8) + 0.5
    grid = torch.stack(torch.meshgrid(x / 4 - 1, y / 4 - 1, indexing="xy"), dim=-1)[None]
    expected = F.grid_sample(maps, grid, mode="bicubic", align_corners=False, padding_mode="border")
    inner = slice(4, 8)  # the taps of the others are clamped at the box
    torch.testing.assert_close(found[..., inner], expected[..., inner], atol=1e-5, rtol=0)


def test_box_between_places_reads_no_place_that_it_does_not_touch() -> None:
    weights = crop_weights(torch.tensor([3, 4]), torch.tensor([6, 4]), 8, 12, side=16)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 12), atol=1e-5, rtol=0)
    assert (weights[0][:, [0, 5, 6, 7]] == 0).all() and (weights[0][:, 1:5] != 0).any(dim=0).all()
    assert (weights[1][:, [0, 1, 4, 5, 6, 7]] == 0).all() and (weights[1][:, 2:4] != 0).any(dim=0).all()


def test_box_smaller_than_a_place_is_that_place() -> None:
    maps = normal(1, 3, 4, 4)
    found = crop_resize(maps, torch.tensor([[9, 6, 1, 1]]), (2, 3), (16, 16))
    torch.testing.assert_close(found, maps[:, :, 2:3, 1:2].expand(-1, -1, 2, 3), atol=1e-6, rtol=0)


def test_edges_on_thirds_of_a_place_are_not_rounded() -> None:
    """Thirds of a place are no binary fractions: 1/3 + 5/3 must still end at 2, and read no third place."""
    weights = crop_weights(torch.tensor([1]), torch.tensor([5]), 4, 5, side=12)
    assert (weights[..., 2:] == 0).all()


@settings(max_examples=40, deadline=None)
@given(maps_with_boxes())
def test_crop_of_labels_is_nearest_interpolation_of_the_cut_out_box(
    case: tuple[Tensor, Tensor, tuple[int, int]],
) -> None:
    maps, boxes, size = case
    labels = (maps[:, 0] * 1000).long()
    for one_map, box, found in zip(labels, boxes.tolist(), crop_labels(labels, boxes, size), strict=True):
        top, left, height, width = box
        cut = one_map[None, None, top : top + height, left : left + width]
        # In float64, since places at exactly half way round either way in float32.
        rows, columns = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in size)
        expected = cut[0, 0][(rows * height).floor().long()][:, (columns * width).floor().long()]
        assert torch.equal(found, expected)


def test_labels_of_a_box_between_places_are_those_under_the_centres() -> None:
    labels = torch.arange(8).expand(1, 8, 8)
    found = crop_labels(labels, torch.tensor([[0, 3, 16, 6]]), (4, 6), (16, 16))[0, 0]
    assert found.tolist() == [1, 2, 2, 3, 3, 4]  # centres 1.75, 2.25, 2.75, 3.25, 3.75, 4.25


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_labels_keep_type_and_value(dtype: torch.dtype) -> None:
    value = 255 if dtype == torch.uint8 else 65535
    labels = torch.full((2, 6, 8), value).to(dtype)
    cropped = crop_labels(labels, torch.tensor([[0, 0, 3, 4], [2, 2, 4, 4]]), (5, 5))
    assert cropped.dtype == dtype and (cropped.long() == value).all()
