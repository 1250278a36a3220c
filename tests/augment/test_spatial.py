"""Flip, affine, random resized crop and centre crop as transforms of a whole batch, and what labels do meanwhile."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seitpp.augment import (
    BatchCenterCrop,
    BatchCutMix,
    BatchMixup,
    BatchRandomAffine,
    BatchRandomFlip,
    BatchRandomResizedCrop,
    BatchTransform,
    TokenRRC,
)
from seitpp.augment.affine import Affines, Flips
from seitpp.augment.crops import CropBoxes, crop_labels, crop_resize
from seitpp.registry import TRANSFORMS

ROWS, COLUMNS, TIMES = 16, 12, 4  # the painted grid, and how many label pixels a token has a side

# The strengths of the recipes, in one map.
RECIPE = dict(degrees=30, translate=0.2, shear=15, part_prob=0.5, prob=0.5)

GEOMETRIC = {
    "flip": BatchRandomFlip(),
    "affine": BatchRandomAffine(degrees=30, translate=0.2, shear=15, scale=(0.8, 1.2)),
    "crop": BatchRandomResizedCrop((8, 6), scale=(0.3, 1.0)),
    "centre": BatchCenterCrop((8, 6)),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def upscaled(grid: Tensor) -> Tensor:
    return grid.repeat_interleave(TIMES, -2).repeat_interleave(TIMES, -1)


def painted(batch_size: int) -> dict:
    """Codes that are all different, with the embedding (sample, row, column); labels are the codes, at 4x."""
    codes = torch.arange(batch_size * ROWS * COLUMNS).view(batch_size, ROWS, COLUMNS)
    codebook = torch.cartesian_prod(*(torch.arange(float(n)) for n in (batch_size, ROWS, COLUMNS)))
    return {"inputs": codes, "codebook": codebook, "gt_sem_seg": upscaled(codes), "ignore": len(codebook)}


def run(transform: BatchTransform, batch: dict, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    return transform(dict(batch))


def nearest_labels(maps: Tensor, batch: dict) -> Tensor:
    """The code that each embedding (sample, row, column) rounds to, (B, H, W)."""
    sample, row, column = maps.round().long().unbind(1)
    return (sample * ROWS + row) * COLUMNS + column


def away_from_borders(inside: Tensor) -> Tensor:
    """Places whose eight neighbours are inside as they are, (B, H, W): no interpolation reaches out of the image."""
    return F.avg_pool2d(inside.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0.99


# --- the painted grid: labels follow tokens


@pytest.mark.parametrize("transform", [BatchRandomFlip(), BatchCenterCrop((8, 6)), BatchCutMix()], ids=repr)
def test_labels_follow_codes_exactly(transform: BatchTransform) -> None:
    batch = painted(6)
    found = run(transform, batch)
    assert found["inputs"].dtype == torch.int64 and not torch.equal(found["inputs"], batch["inputs"])
    assert torch.equal(found["gt_sem_seg"], upscaled(found["inputs"]))


@pytest.mark.parametrize("transform", [BatchRandomFlip(), BatchCenterCrop((8, 6)), BatchCutMix()], ids=repr)
def test_embeddings_move_as_codes_do(transform: BatchTransform) -> None:
    batch = painted(6)
    embeddings = F.embedding(batch["inputs"], batch["codebook"]).permute(0, 3, 1, 2)
    as_maps = run(transform, batch | {"inputs": embeddings})
    assert torch.equal(nearest_labels(as_maps["inputs"], batch), run(transform, batch)["inputs"])


def test_labels_follow_a_crop_at_its_own_size_exactly() -> None:
    batch, crop = painted(3), BatchRandomResizedCrop((8, 6))
    boxes = CropBoxes(torch.tensor([[0, 0, 8, 6], [3, 2, 8, 6], [8, 6, 8, 6]]), (ROWS, COLUMNS))
    maps = crop.apply_codes(batch["inputs"], batch["codebook"], boxes)
    assert torch.equal(crop.apply_labels(batch["gt_sem_seg"], boxes), upscaled(nearest_labels(maps, batch)))


@pytest.mark.parametrize(
    "transform",
    [
        BatchRandomResizedCrop((8, 6), scale=(0.1, 1.0)),
        TokenRRC((16, 12), scale=(0.1, 1.0)),
        BatchRandomAffine(degrees=30, translate=0.2, shear=15, scale=(0.8, 1.2), ignore_index=9999),
    ],
    ids=["crop", "token-rrc", "affine"],
)
def test_labels_follow_resampled_tokens_within_one_token(transform: BatchTransform) -> None:
    batch = painted(32)
    found = run(transform, batch)
    labels = found["gt_sem_seg"]
    inside = away_from_borders(F.avg_pool2d((labels != 9999).float(), TIMES) == 1)
    assert inside.double().mean() > 0.3
    vectors = F.embedding(labels.clamp(max=len(batch["codebook"]) - 1), batch["codebook"]).permute(0, 3, 1, 2)
    distance = (F.avg_pool2d(vectors, TIMES) - found["inputs"]).abs().amax(dim=1)
    assert distance[inside].max() < 1


@pytest.mark.parametrize("name", GEOMETRIC)
def test_one_draw_means_the_same_at_every_resolution(name: str) -> None:
    """Smooth maps: what the draw makes of a finer one, averaged, is nearly what it makes of the coarser one."""
    transform = GEOMETRIC[name]
    y, x = torch.meshgrid(*(torch.linspace(0, 3, TIMES * n) for n in (ROWS, COLUMNS)), indexing="ij")
    fine = torch.stack([y.sin() + x, y - x.cos()])[None].expand(8, -1, -1, -1)
    params = transform.sample(8, (ROWS, COLUMNS), generator=seeded())
    coarse = transform.apply(F.avg_pool2d(fine, TIMES), params)
    pooled = F.avg_pool2d(transform.apply(fine, params), TIMES)
    assert coarse.shape == pooled.shape
    inner = away_from_borders((coarse != 0).all(dim=1))  # affine maps leave zeros outside
    assert inner.double().mean() > 0.3
    assert (pooled - coarse).abs().amax(dim=1)[inner].max() < 0.05


def test_crop_drawn_on_a_fine_map_holds_for_a_coarser_one() -> None:
    crop = BatchRandomResizedCrop(56)
    params = crop.sample(4, (64, 64), generator=seeded())
    maps = normal(4, 3, 32, 32)
    assert crop.apply(maps, params).shape == (4, 3, 28, 28)
    even = CropBoxes(params.boxes // 2 * 2 + torch.tensor([0, 0, 2, 2]), (64, 64))
    even.boxes[:, 2:].clamp_(max=32)
    even.boxes[:, :2].clamp_(max=32)
    assert torch.equal(crop.apply(maps, even), crop_resize(maps, even.boxes // 2, (28, 28)))


def test_centre_crop_of_a_coarser_map_is_cut_between_its_positions() -> None:
    crop, maps, labels = BatchCenterCrop(10), normal(2, 3, 8, 8), torch.arange(64).view(1, 8, 8).expand(2, -1, -1)
    params = crop.sample(2, (16, 16))  # from 3 on: between the second and the third place of 8
    assert torch.equal(crop.apply(maps, params), crop_resize(maps, params.boxes, (5, 5), (16, 16)))
    assert torch.equal(crop.apply_labels(labels, params), crop_labels(labels, params.boxes, (5, 5), (16, 16)))


# --- identity, batches of any size


NEUTRAL = {
    "flip": BatchRandomFlip(prob=0.0),
    "affine": BatchRandomAffine(),
    "affine-never": BatchRandomAffine(degrees=30, translate=0.2, shear=15, scale=(0.5, 2), prob=0.0),
    "affine-no-part": BatchRandomAffine(degrees=30, translate=0.2, shear=15, scale=(0.5, 2), part_prob=0.0),
    "crop": BatchRandomResizedCrop((16, 12), scale=(1.0, 1.0), ratio=(12 / 16, 12 / 16)),
    "centre": BatchCenterCrop((16, 12)),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_identity_parameters_are_the_identity(name: str) -> None:
    batch = {"inputs": normal(5, 3, 16, 12), "gt_sem_seg": torch.randint(0, 99, (5, 32, 48), generator=seeded())}
    found = run(NEUTRAL[name], batch)
    assert torch.equal(found["inputs"], batch["inputs"]) and torch.equal(found["gt_sem_seg"], batch["gt_sem_seg"])


def test_flip_twice_is_the_identity() -> None:
    batch = painted(6)
    assert torch.equal(run(BatchRandomFlip(), run(BatchRandomFlip(), batch))["inputs"], batch["inputs"])


def test_every_sample_is_flipped_with_probability_one() -> None:
    batch = painted(3)
    assert torch.equal(run(BatchRandomFlip(prob=1.0), batch)["inputs"], batch["inputs"].flip(-1))


@pytest.mark.parametrize("batch_size", [0, 1, 3])
@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("per_sample", [True, False])
def test_any_batch_size_is_taken(name: str, batch_size: int, per_sample: bool) -> None:
    transform = GEOMETRIC[name]
    batch = {"inputs": normal(batch_size, 3, 16, 12), "gt_sem_seg": torch.ones(batch_size, 32, 24).byte()}
    before, transform.per_sample = transform.per_sample, per_sample
    found = run(transform, batch)
    transform.per_sample = before
    rows, columns = transform.out_grid((16, 12))
    assert found["inputs"].shape == (batch_size, 3, rows, columns)
    assert found["gt_sem_seg"].shape == (batch_size, 2 * rows, 2 * columns)


def tensors(params: Any) -> list[Tensor]:
    return [value for value in vars(params).values() if isinstance(value, Tensor)]


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: BatchRandomFlip(**options),
        lambda **options: BatchRandomAffine(30, 0.2, 15, (0.5, 2), **options),
        lambda **options: BatchRandomResizedCrop(8, **options),
        lambda **options: TokenRRC(8, **options),
    ],
    ids=["flip", "affine", "crop", "token-rrc"],
)
def test_one_draw_a_sample_or_one_a_batch(make: Any) -> None:
    for value in tensors(make().sample(64, (16, 16), generator=seeded())):
        assert len(value) == 64 and len(value.unique(dim=0)) > 1
    for value in tensors(make(per_sample=False).sample(64, (16, 16), generator=seeded())):
        assert len(value) == 64 and len(value.unique(dim=0)) == 1


@pytest.mark.parametrize("name", GEOMETRIC)
def test_same_generator_state_same_draw(name: str) -> None:
    first, second = (GEOMETRIC[name].sample(16, (16, 12), generator=seeded(5)) for _ in range(2))
    assert all(map(torch.equal, tensors(first), tensors(second)))


class CountCalls(TorchDispatchMode):
    """Counts every tensor operation that runs."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def calls(transform: BatchTransform, batch_size: int) -> int:
    batch = {
        "inputs": torch.randint(0, 9, (batch_size, 16, 12)),
        "codebook": normal(9, 4),
        "gt_label": torch.zeros(batch_size, dtype=torch.int64),
        "num_classes": 3,
    }
    if not isinstance(transform, BatchMixup):
        batch["gt_sem_seg"] = torch.zeros(batch_size, 32, 24, dtype=torch.uint8)
    with CountCalls() as counter:
        transform(batch)
    return counter.calls


@pytest.mark.parametrize(
    "transform",
    [*GEOMETRIC.values(), TokenRRC((8, 6)), BatchMixup(), BatchCutMix(), BatchCutMix(partner="random")],
    ids=lambda transform: type(transform).__name__,
)
def test_work_is_not_done_sample_by_sample(transform: BatchTransform) -> None:
    assert calls(transform, 64) == calls(transform, 4)


# --- what is drawn


def test_parts_of_the_affine_act_independently() -> None:
    params = BatchRandomAffine(**RECIPE, scale=(0.5, 0.9)).sample(40000, (56, 56), generator=seeded())
    parts = [params.angle[:, None], params.translate, params.shear, params.scale[:, None] - 1]
    acts = torch.cat(parts, dim=1) != 0  # (B, 6)
    moved = acts.any(dim=1)
    assert moved.double().mean().item() == pytest.approx(0.5 * (1 - 0.5**6), abs=0.01)
    assert ((acts.double().mean(dim=0) - 0.25).abs() < 0.01).all()
    assert (acts[moved].double().T.corrcoef() - torch.eye(6)).abs().max() < 0.05


def test_recipe_leaves_the_scale_alone() -> None:
    assert (BatchRandomAffine(**RECIPE).sample(100, (56, 56)).scale == 1).all()


def test_parts_of_the_affine_are_uniform_in_their_ranges() -> None:
    params = BatchRandomAffine(30, 0.2, 15, (0.5, 2.0)).sample(40000, (56, 56), generator=seeded())
    parts = [params.angle / 30, *(params.translate.T / 0.2), *(params.shear.T / 15), (params.scale - 1.25) / 0.75]
    for part in torch.stack(parts):
        assert -1 <= part.min() < -0.99 and 0.99 < part.max() <= 1
        assert part.mean().abs() < 0.02 and part.var().item() == pytest.approx(1 / 3, abs=0.01)
    assert (torch.stack(parts).corrcoef() - torch.eye(6)).abs().max() < 0.03


def test_probability_reaches_the_flips() -> None:
    flipped = BatchRandomFlip(0.3).sample(20000, (8, 8), generator=seeded()).flipped
    assert flipped.double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_translation_is_a_share_of_each_side() -> None:
    maps = normal(1, 1, 8, 20)
    quarter = Affines(torch.zeros(1), torch.full((1, 2), 0.25), torch.ones(1), torch.zeros(1, 2))
    found = BatchRandomAffine(translate=0.25).apply(maps, quarter)
    torch.testing.assert_close(found[..., 2:, 5:], maps[..., :6, :15], atol=1e-5, rtol=0)


def test_nearest_affine_invents_no_value() -> None:
    maps, transform = normal(4, 1, 16, 16), BatchRandomAffine(30, 0.2, 15, interpolation="nearest", fill=7.0)
    found = run(transform, {"inputs": maps})["inputs"]
    assert set(found.unique().tolist()) <= {7.0, *maps.unique().tolist()}


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_fill_of_none_leaves_zeros(interpolation: str) -> None:
    transform = BatchRandomAffine(45, interpolation=interpolation, fill=None)
    assert (run(transform, {"inputs": torch.ones(8, 1, 16, 16)})["inputs"][:, 0, 0, 0] == 0).any()


def test_outside_of_label_maps_is_ignored() -> None:
    batch = {"inputs": normal(8, 1, 16, 16), "gt_sem_seg": torch.zeros(8, 32, 32, dtype=torch.uint8)}
    assert set(run(BatchRandomAffine(45), batch)["gt_sem_seg"].unique().tolist()) == {0, 255}
    assert set(run(BatchRandomAffine(45, ignore_index=150), batch)["gt_sem_seg"].unique().tolist()) == {0, 150}


# --- keys


def test_codes_are_embedded_where_positions_are_interpolated() -> None:
    batch = painted(4)
    embeddings = F.embedding(batch["inputs"], batch["codebook"]).permute(0, 3, 1, 2)
    for name in ("affine", "crop"):
        found = run(GEOMETRIC[name], batch)["inputs"]
        torch.testing.assert_close(found, run(GEOMETRIC[name], batch | {"inputs": embeddings})["inputs"])


def test_targets_stay_as_they_are() -> None:
    batch = {"inputs": normal(4, 1, 16, 12), "gt_label": torch.arange(4), "gt_score": torch.eye(4)}
    for transform in GEOMETRIC.values():
        found = run(transform, batch)
        assert found["gt_label"] is batch["gt_label"] and found["gt_score"] is batch["gt_score"]


def test_codes_without_a_codebook_are_refused() -> None:
    with pytest.raises(ValueError, match=r"BatchRandomAffine acts on embeddings, but .* has no `codebook`"):
        BatchRandomAffine(30)({"inputs": torch.zeros(2, 8, 8, dtype=torch.uint8)})


def test_size_scales_with_the_resolution() -> None:
    crop = BatchRandomResizedCrop(28)
    params = crop.sample(2, (32, 32), generator=seeded())
    assert crop.apply(normal(2, 1, 64, 64), params).shape == (2, 1, 56, 56)
    assert crop.apply_labels(torch.zeros(2, 256, 128), params).shape == (2, 224, 112)


@pytest.mark.parametrize("crop", [BatchRandomResizedCrop(28), BatchCenterCrop(28)], ids=repr)
def test_label_map_without_whole_size_is_refused(crop: BatchTransform) -> None:
    with pytest.raises(ValueError, match=r"of 32 x 32 positions has no whole size on a map of 300 x 320; resize"):
        crop({"inputs": normal(2, 1, 32, 32), "gt_sem_seg": torch.zeros(2, 300, 320, dtype=torch.uint8)})


def test_centre_crop_of_a_smaller_map_is_refused() -> None:
    with pytest.raises(ValueError, match="a map of 14 x 30 positions cannot be cropped to 28 x 28"):
        BatchCenterCrop(28)({"inputs": normal(2, 1, 14, 30)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(type="BatchRandomFlip", prob=1.2), r"prob must be a probability in \[0, 1\], got 1.2"),
        (dict(type="BatchRandomAffine", prob=-0.1), r"prob must be a probability in \[0, 1\], got -0.1"),
        (dict(type="BatchRandomAffine", part_prob=2), r"part_prob must be a probability in \[0, 1\], got 2"),
        (dict(type="BatchRandomAffine", degrees=-5), r"degrees .* got -5"),
        (dict(type="BatchRandomAffine", degrees=200), r"degrees .* in \[0, 180\], got 200"),
        (dict(type="BatchRandomAffine", translate=3), r"translate must be a share of the side, in \[0, 1\], .* got 3"),
        (dict(type="BatchRandomAffine", translate=(0.1, -0.2)), r"translate must be .* got \(0.1, -0.2\)"),
        (dict(type="BatchRandomAffine", shear=(15, 0)), r"shear must be .* each low <= high .* got \(15, 0\)"),
        (dict(type="BatchRandomAffine", shear=None), r"shear must be .* got None"),
        (dict(type="BatchRandomAffine", shear=[[0, 15], [0, 5]]), r"shear must be .* got \(\[0, 15\], \[0, 5\]\)"),
        (dict(type="BatchRandomAffine", translate="ab"), r"translate must be .* got 'ab'"),
        (dict(type="BatchRandomFlip", prob="0.5"), r"prob must be a probability .* got '0.5'"),
        (dict(type="BatchRandomAffine", shear=(0, 15, 0)), r"shear must be .* got \(0, 15, 0\)"),
        (dict(type="BatchRandomAffine", shear=90), r"shear .* in \[0, 90\), .* got 90"),
        (dict(type="BatchRandomAffine", scale=[0, 1]), r"scale .* 0 < low <= high, finite, got \(0, 1\)"),
        (dict(type="BatchRandomAffine", scale=[2, 1]), r"scale .* 0 < low <= high, finite, got \(2, 1\)"),
        (dict(type="BatchRandomAffine", scale=[1, float("inf")]), r"scale .* finite, got \(1, inf\)"),
        (dict(type="BatchRandomAffine", interpolation="bicubic"), "'bilinear' or 'nearest', got 'bicubic'"),
        (dict(type="BatchRandomResizedCrop", size=0), "size must be .* above 0, got 0"),
        (dict(type="BatchRandomResizedCrop", size=[4, 4, 4]), r"size must be .* got \[4, 4, 4\]"),
        (dict(type="BatchCenterCrop", size=2.5), r"size must be .* got 2\.5"),
        (dict(type="BatchRandomResizedCrop", size=8, scale=(0.5, 2)), r"scale must satisfy .* got \(0.5, 2\)"),
        (dict(type="BatchRandomResizedCrop", size=8, ratio=(2, 1)), r"ratio must satisfy .* got \(2, 1\)"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(options | {"type": f"seitpp.{options['type']}"})


@pytest.mark.parametrize("ignore_index", [-100, 300])
def test_ignore_index_that_label_maps_cannot_hold_is_refused(ignore_index: int) -> None:
    affine = BatchRandomAffine(45, ignore_index=ignore_index)
    labels = torch.zeros(2, 8, 8, dtype=torch.uint8)
    with pytest.raises(
        ValueError, match=rf"ignore_index is {ignore_index}, but label maps are torch\.uint8, from 0 to"
    ):
        affine.apply_labels(labels, affine.sample(2, (8, 8)))


def test_registry_builds_them() -> None:
    built = TRANSFORMS.build(dict(type="seitpp.BatchRandomAffine", **RECIPE))
    assert repr(built) == (
        "BatchRandomAffine(degrees=30, translate=(0.2, 0.2), shear=(-15, 15, -15, 15), scale=(1.0, 1.0), "
        "part_prob=0.5, prob=0.5, fill=0.0, interpolation='bilinear', ignore_index=255, per_sample=True)"
    )
    for name in ("BatchRandomFlip", "BatchRandomResizedCrop", "BatchCenterCrop"):
        options = {} if name == "BatchRandomFlip" else {"size": [8, 6]}
        assert repr(TRANSFORMS.build(dict(type=f"seitpp.{name}", **options))).startswith(f"{name}(")


def test_parameters_are_plain_and_hold_no_size_of_the_map() -> None:
    assert isinstance(GEOMETRIC["flip"].sample(2, (4, 4)), Flips)
    assert isinstance(GEOMETRIC["affine"].sample(2, (4, 4)), Affines)
    assert GEOMETRIC["crop"].sample(2, (16, 12)).grid == (16, 12)


def test_translation_and_shear_keep_to_their_axis_and_side() -> None:
    """The release's parts: a shift along one axis, a shear along x to one side."""
    shift = BatchRandomAffine(translate=(0.2, 0.0)).sample(1000, (8, 8), generator=seeded())
    assert (shift.translate[:, 1] == 0).all()
    assert shift.translate[:, 0].abs().max() <= 0.2 and shift.translate[:, 0].min() < -0.18
    shear = BatchRandomAffine(shear=(0.0, 15.0)).sample(1000, (8, 8), generator=seeded()).shear
    assert (shear[:, 1] == 0).all() and shear.min() >= 0 and 14.8 < shear.max() <= 15
    both = BatchRandomAffine(shear=(-30, 30, 5, 10)).sample(1000, (8, 8), generator=seeded()).shear
    assert -30 <= both[:, 0].min() < -29 and 29 < both[:, 0].max() <= 30
    assert both[:, 1].min() >= 5 and both[:, 1].max() <= 10
