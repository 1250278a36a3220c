"""Mixup and CutMix of a whole batch, and the soft targets that they make."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seitpp.augment import BatchCutMix, BatchMixup, BatchTransform
from seitpp.augment.base import class_scores
from seitpp.augment.mixing import CutBoxes, MixWeights, cut_boxes_from_draws, pasted_positions
from seitpp.registry import TRANSFORMS

BOTH = [BatchMixup, BatchCutMix]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy_batch(batch_size: int = 6) -> dict:
    return {"inputs": normal(batch_size, 3, 10, 8), "gt_label": torch.arange(batch_size) % 4, "num_classes": 4}


def run(transform: BatchTransform, batch: dict, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    return transform(dict(batch))


def cut(boxes: list[list[int]], places: tuple[int, int]) -> CutBoxes:
    """Boxes with the partners of batch reversal."""
    return CutBoxes(torch.tensor(boxes), places, torch.arange(len(boxes)).flip(0))


# --- mixup


def test_mixup_is_the_weighted_mean_with_the_partner() -> None:
    maps, scores = normal(3, 2, 4, 5), torch.eye(3)
    params = MixWeights(torch.tensor([0.7, 0.2, 1.0]), torch.tensor([2, 0, 1]))
    weight = params.weight.view(3, 1, 1, 1)
    expected = weight * maps + (1 - weight) * maps[[2, 0, 1]]
    torch.testing.assert_close(BatchMixup().apply(maps, params), expected, atol=1e-6, rtol=0)
    expected = torch.tensor([[0.7, 0, 0.3], [0.8, 0.2, 0], [0, 0, 1.0]])
    torch.testing.assert_close(BatchMixup().apply_scores(scores, params), expected, atol=1e-6, rtol=0)


def test_mixup_of_weight_one_is_the_identity() -> None:
    maps, params = normal(4, 2, 4, 5), MixWeights(torch.ones(4), torch.tensor([3, 2, 1, 0]))
    assert torch.equal(BatchMixup().apply(maps, params), maps)


def test_mixup_reaches_its_share_of_the_samples() -> None:
    mixed = BatchMixup(prob=0.3).sample(4000, (1, 1), generator=seeded()).weight != 1
    assert mixed.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_mixup_of_a_batch_or_none_of_it() -> None:
    generator = seeded()
    drawn = [BatchMixup(prob=0.3, per_sample=False).sample(4, (1, 1), generator=generator).weight for _ in range(400)]
    assert all(len(weight.unique()) == 1 for weight in drawn)
    assert sum(weight[0].item() != 1 for weight in drawn) / 400 == pytest.approx(0.3, abs=0.08)


def test_mixup_that_never_happens_changes_nothing() -> None:
    batch = toy_batch(5)
    found = run(BatchMixup(prob=0), batch)
    assert torch.equal(found["inputs"], batch["inputs"])
    assert torch.equal(found["gt_score"], F.one_hot(batch["gt_label"], 4).float())


def test_broken_sample_does_not_reach_those_that_are_not_mixed() -> None:
    maps = normal(4, 2, 3, 3)
    maps[3] = torch.nan
    broken = run(BatchMixup(prob=0), {"inputs": maps})["inputs"].isnan().flatten(1).any(dim=1)
    assert broken.tolist() == [False, False, False, True]


def test_wrong_probability_of_mixup_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prob must be a probability in \[0, 1\], got 1\.2"):
        BatchMixup(prob=1.2)


def test_inputs_and_targets_are_mixed_with_the_same_weight() -> None:
    batch = toy_batch(4)
    batch["inputs"] = torch.eye(4).view(4, 4, 1, 1).expand(4, 4, 3, 3)  # the channel is the label
    found = run(BatchMixup(), batch)
    torch.testing.assert_close(found["inputs"][..., 0, 0], found["gt_score"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 3.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    weight = BatchMixup(alpha).sample(40000, (4, 4), generator=seeded()).weight.double()
    assert weight.min() >= 0 and weight.max() <= 1
    assert weight.mean().item() == pytest.approx(0.5, abs=0.01)
    assert weight.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.005)


def test_tiny_alpha_gives_finite_weights() -> None:
    assert BatchMixup(1e-4).sample(1000, (4, 4), generator=seeded()).weight.isfinite().all()


def test_mixup_embeds_codes_first() -> None:
    codes, codebook = torch.randint(0, 50, (4, 6, 6), generator=seeded()), normal(50, 3)
    embeddings = F.embedding(codes, codebook).permute(0, 3, 1, 2)
    found = run(BatchMixup(), {"inputs": codes.to(torch.uint16), "codebook": codebook})["inputs"]
    torch.testing.assert_close(found, run(BatchMixup(), {"inputs": embeddings})["inputs"])


def test_mixup_of_label_maps_is_refused() -> None:
    batch = toy_batch() | {"gt_sem_seg": torch.zeros(6, 20, 16, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"BatchMixup cannot mix label maps .* every position would have two classes"):
        BatchMixup()(batch)


# --- cutmix


def test_cutmix_pastes_the_box_of_the_partner() -> None:
    maps = normal(2, 3, 6, 8)
    found = BatchCutMix().apply(maps, cut([[1, 2, 3, 4], [0, 0, 0, 5]], (6, 8)))
    expected = maps.clone()
    expected[0, :, 1:4, 2:6] = maps[1, :, 1:4, 2:6]
    assert torch.equal(found, expected)


def test_targets_follow_the_exact_pasted_area() -> None:
    """Labels 0 and 1 on maps that are 0 and 1 throughout: the mean of a map is the share of class 1."""
    batch = {
        "inputs": torch.tensor([0.0, 1.0]).repeat(32).view(64, 1, 1, 1).expand(64, 1, 14, 9),
        "gt_label": torch.tensor([0, 1]).repeat(32),
        "num_classes": 2,
    }
    found = run(BatchCutMix(), batch)
    torch.testing.assert_close(found["gt_score"][:, 1], found["inputs"].mean(dim=(1, 2, 3)), atol=1e-6, rtol=0)
    assert len(found["gt_score"].unique(dim=0)) > 20


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int64])
def test_cutmix_of_codes_pastes_codes(dtype: torch.dtype) -> None:
    codes = torch.randint(0, 200, (6, 10, 8), generator=seeded())
    found = run(BatchCutMix(), {"inputs": codes.to(dtype)})["inputs"]
    assert found.dtype == dtype
    assert torch.equal(found.long(), run(BatchCutMix(), {"inputs": codes[:, None].float()})["inputs"][:, 0].long())


def test_label_maps_are_pasted_with_their_tokens() -> None:
    codes = torch.arange(6)[:, None, None].expand(6, 10, 8)
    batch = {"inputs": codes, "gt_sem_seg": codes.repeat_interleave(4, 1).repeat_interleave(2, 2).byte()}
    found = run(BatchCutMix(), batch)
    assert torch.equal(found["gt_sem_seg"], found["inputs"].repeat_interleave(4, 1).repeat_interleave(2, 2).byte())


def test_box_on_a_coarser_map_takes_the_positions_whose_centre_it_holds() -> None:
    params = cut([[0, 3, 16, 6]], (16, 16))  # 1.5 to 4.5 of 8: the centres 1.5 to 3.5
    assert pasted_positions(params, (8, 8))[0, 0].tolist() == [False, True, True, True, False, False, False, False]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0, 1, width=32),
    st.floats(0, 1, width=32, exclude_max=True),
    st.floats(0, 1, width=32, exclude_max=True),
)
def test_any_draws_give_a_box_inside_the_map(rows: int, columns: int, share: float, y: float, x: float) -> None:
    draws = [torch.tensor([value]) for value in (share, y, x)]
    top, left, height, width = cut_boxes_from_draws(*draws, (rows, columns))[0].tolist()
    assert 0 <= top <= top + height <= rows and 0 <= left <= left + width <= columns
    params = cut([[top, left, height, width]], (rows, columns))
    assert pasted_positions(params, (rows, columns)).sum() == height * width
    assert params.weight.item() == pytest.approx(1 - height * width / (rows * columns))


def test_boxes_have_the_drawn_area_and_a_uniform_centre() -> None:
    shares, centres = torch.rand(2, 20000, generator=seeded()), torch.rand(2, 20000, generator=seeded(1))
    top, left, height, width = cut_boxes_from_draws(shares[0], *centres, (512, 256)).double().unbind(1)
    whole = (top > 0) & (left > 0) & (top + height < 512) & (left + width < 256)
    area = height * width / (512 * 256)
    assert whole.double().mean() > 0.1
    assert (area + shares[0])[whole].sub(1).abs().max() < 0.01
    assert (area + shares[0] <= 1.01).all()  # cut off at the border: less, never more
    assert ((top + height / 2) / 512 - centres[0])[whole].abs().max() < 0.003
    assert ((left + width / 2) / 256 - centres[1])[whole].abs().max() < 0.005


def test_box_of_everything_and_of_nothing() -> None:
    half = torch.tensor([0.5, 0.5])
    boxes = cut_boxes_from_draws(torch.tensor([0.0, 1.0]), half, half, (6, 8))
    assert boxes[0].tolist() == [0, 0, 6, 8] and boxes[1, 2:].tolist() == [0, 0]
    maps = normal(2, 1, 6, 8)
    found = BatchCutMix().apply(maps, CutBoxes(boxes, (6, 8), torch.tensor([1, 0])))
    assert torch.equal(found, maps[[1, 1]])


# --- both


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("partner", ["reverse", "random"])
@pytest.mark.parametrize("batch_size", [0, 1, 2, 5])
def test_soft_targets_sum_to_one(make: type, partner: str, batch_size: int) -> None:
    found = run(make(partner=partner), toy_batch(batch_size))
    assert found["inputs"].shape == (batch_size, 3, 10, 8) and found["gt_score"].shape == (batch_size, 4)
    assert (found["gt_score"] >= 0).all()
    torch.testing.assert_close(found["gt_score"].sum(dim=1), torch.ones(batch_size), atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", BOTH)
def test_mixing_twice_mixes_the_soft_targets(make: type) -> None:
    once = run(make(), toy_batch(8))
    twice = run(make(partner="random"), once, seed=1)
    torch.testing.assert_close(twice["gt_score"].sum(dim=1), torch.ones(8), atol=1e-6, rtol=0)
    assert (twice["gt_score"] > 0).sum(dim=1).max() > 2


@pytest.mark.parametrize("make", BOTH)
def test_partners_are_the_reversed_batch_or_a_permutation(make: type) -> None:
    assert make().sample(5, (4, 4)).partner.tolist() == [4, 3, 2, 1, 0]
    drawn = make(partner="random").sample(100, (4, 4), generator=seeded()).partner
    assert sorted(drawn.tolist()) == list(range(100)) and drawn.tolist() != list(range(100))


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_sample_that_is_its_own_partner_stays_as_it_is(make: type, batch_size: int) -> None:
    batch = toy_batch(batch_size)
    found, middle = run(make(), batch), batch_size // 2
    assert torch.equal(found["inputs"][middle], batch["inputs"][middle])
    assert found["gt_score"][middle].tolist() == F.one_hot(batch["gt_label"], 4)[middle].tolist()


@pytest.mark.parametrize("make", BOTH)
def test_one_draw_a_sample_or_one_a_batch(make: type) -> None:
    assert len(make().sample(64, (16, 16), generator=seeded()).weight.unique()) > 30
    assert len(make(per_sample=False).sample(64, (16, 16), generator=seeded()).weight.unique()) == 1
    assert run(make(per_sample=False), toy_batch(5))["gt_score"].shape == (5, 4)


@pytest.mark.parametrize("make", BOTH)
def test_without_labels_only_inputs_are_mixed(make: type) -> None:
    batch = {"inputs": normal(6, 3, 10, 8)}
    found = run(make(), batch)
    assert found.keys() == {"inputs"} and not torch.equal(found["inputs"], batch["inputs"])


@pytest.mark.parametrize("make", BOTH)
def test_input_is_not_written_to(make: type) -> None:
    batch = toy_batch()
    before = batch["inputs"].clone()
    run(make(), batch)
    assert torch.equal(batch["inputs"], before)


@pytest.mark.parametrize("make", BOTH)
def test_same_generator_state_same_draw(make: type) -> None:
    first, second = (make(partner="random").sample(16, (8, 8), generator=seeded(3)) for _ in range(2))
    assert torch.equal(first.weight, second.weight) and torch.equal(first.partner, second.partner)


@pytest.mark.parametrize("make", BOTH)
def test_labels_without_a_number_of_classes_are_refused(make: type) -> None:
    batch = toy_batch()
    del batch["num_classes"]
    with pytest.raises(ValueError, match="no `num_classes`; set the data preprocessor's num_classes"):
        make()(batch)


def test_scores_of_labels_and_scores_that_were_there() -> None:
    batch = toy_batch(4)
    assert torch.equal(class_scores(batch), torch.eye(4))
    scores = torch.full((4, 4), 0.25)
    assert class_scores(batch | {"gt_score": scores}) is scores
    assert class_scores({"inputs": batch["inputs"]}) is None


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan")])
def test_wrong_alpha_is_refused(make: type, alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha .* must be finite and above 0, got {alpha}"):
        make(alpha=alpha)


@pytest.mark.parametrize("make", BOTH)
def test_wrong_partner_is_refused(make: type) -> None:
    with pytest.raises(ValueError, match="partner must be 'reverse' or 'random', got 'next'"):
        make(partner="next")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("BatchMixup", "BatchMixup(alpha=0.5, partner='random', per_sample=True, prob=1.0)"),
        ("BatchCutMix", "BatchCutMix(alpha=0.5, partner='random', per_sample=True)"),
        ("TokenCutMix", "BatchCutMix(alpha=0.5, partner='random', per_sample=True)"),
    ],
)
def test_registry_builds_them(name: str, shown: str) -> None:
    assert repr(TRANSFORMS.build(dict(type=f"seitpp.{name}", alpha=0.5, partner="random"))) == shown
