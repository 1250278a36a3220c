"""Emb-Noise and ColorAdapt on whole batches, against the reference and by their properties."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.golden import load_golden
from seitpp.augment import ColorAdapt, EmbNoise
from seitpp.augment.colors import add_noise, color_adapt, draw_samples
from seitpp.registry import TRANSFORMS

B, C, H, W = 6, 5, 8, 7


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(transform: Callable, maps: Tensor, seed: int = 0, **more: object) -> Tensor:
    torch.manual_seed(seed)
    return transform({"inputs": maps, **more})["inputs"]


def reverse(batch_size: int) -> Tensor:
    return torch.arange(batch_size).flip(0)


def changed_samples(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(dim=1)


@pytest.fixture(scope="module")
def golden() -> dict:
    return load_golden("coloradapt.npz")


@pytest.fixture(scope="module")
def golden_maps(golden: dict) -> Tensor:
    return torch.from_numpy(golden["in/x"])


@pytest.mark.parity
def test_color_adapt_of_all_samples_matches_the_reference(golden: dict, golden_maps: Tensor) -> None:
    found = color_adapt(golden_maps, reverse(len(golden_maps)))
    torch.testing.assert_close(found, torch.from_numpy(golden["out/prob1"]), atol=2e-5, rtol=0)


@pytest.mark.parity
def test_color_adapt_of_some_samples_matches_the_reference(golden: dict, golden_maps: Tensor) -> None:
    batch_size = len(golden_maps)
    ids = torch.from_numpy(golden["in/ids_prob05"])
    partner = torch.arange(batch_size).index_copy(0, ids, reverse(batch_size)[ids])
    found = color_adapt(golden_maps, partner)
    torch.testing.assert_close(found, torch.from_numpy(golden["out/prob05"]), atol=2e-5, rtol=0)
    stays = ~torch.tensor(golden["meta"]["changed"])
    assert torch.equal(found[stays], golden_maps[stays])


@pytest.mark.parity
def test_samples_are_drawn_as_in_the_reference(golden: dict, golden_maps: Tensor) -> None:
    ids = torch.from_numpy(golden["in/ids_prob05"])
    generator = torch.Generator().manual_seed(golden["meta"]["torch_seed_prob05"])
    found = draw_samples(len(golden_maps), 0.5, generator=generator)
    assert len(found) - len(ids) in (0, 1)  # a half is rounded up or down here, and always down there
    assert torch.equal(found[: len(ids)], ids)


@pytest.mark.parametrize(
    ("batch_size", "prob", "count"), [(8, 0.25, 2), (100, 0.07, 7), (3, 0, 0), (3, 1, 3), (1, 1, 1)]
)
def test_number_of_samples_is_exact_where_it_is_whole(batch_size: int, prob: float, count: int) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        samples = draw_samples(batch_size, prob)
        assert len(samples) == len(samples.unique()) == count


@pytest.mark.parametrize(("batch_size", "prob"), [(1, 0.5), (1, 0.25), (3, 0.5), (5, 0.3)])
def test_share_of_samples_is_right_on_average(batch_size: int, prob: float) -> None:
    torch.manual_seed(0)
    counts = torch.tensor([len(draw_samples(batch_size, prob)) for _ in range(2000)], dtype=torch.float32)
    assert abs(counts.mean().item() - batch_size * prob) < 0.04
    assert counts.max() - counts.min() == 1


def test_every_sample_is_drawn_alike() -> None:
    torch.manual_seed(0)
    drawn = torch.cat([draw_samples(5, 0.4) for _ in range(1000)]).bincount(minlength=5)
    assert (drawn / 1000 - 0.4).abs().max() < 0.06


def test_color_adapt_gives_the_partner_s_statistics() -> None:
    maps = normal(B, C, H, W) * normal(B, C, 1, 1, seed=1) + 3 * normal(B, C, 1, 1, seed=2)
    found = color_adapt(maps, reverse(B))
    torch.testing.assert_close(found.mean((2, 3)), maps.flip(0).mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std((2, 3)), maps.flip(0).std((2, 3)), atol=1e-5, rtol=0)


def test_color_adapt_keeps_the_structure() -> None:
    maps = normal(B, C, H, W)
    found = color_adapt(maps, reverse(B))
    one, other = (F.normalize(x - x.mean((2, 3), keepdim=True), dim=(2, 3)) for x in (maps, found))
    torch.testing.assert_close(one, other)


def test_statistics_are_those_of_the_original_batch() -> None:
    maps = normal(4, C, H, W) + torch.arange(4).view(4, 1, 1, 1)
    partner = torch.tensor([1, 2, 3, 0])
    found = color_adapt(maps, partner)
    torch.testing.assert_close(found.mean((2, 3)), maps[partner].mean((2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_middle_sample_and_a_sample_alone_stay_to_the_bit(batch_size: int) -> None:
    maps = normal(batch_size, C, H, W)
    found = run(ColorAdapt(prob=1), maps)
    changed = changed_samples(maps, found)
    assert not changed[batch_size // 2] and changed.sum() == batch_size - 1


@pytest.mark.parametrize("value", [0.0, 0.1, 7.3, 1e4, -1e-12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_constant_channel_becomes_the_partner_s_mean(value: float, dtype: torch.dtype) -> None:
    maps = normal(2, C, 31, 29)
    maps[0, 1] = value
    found = color_adapt(maps.to(dtype), reverse(2))
    expected = maps[1, 1].to(dtype).float().mean().to(dtype)
    torch.testing.assert_close(found[0, 1], expected.expand(31, 29))
    assert found.isfinite().all()


def test_rounding_of_a_constant_channel_is_not_blown_up() -> None:
    maps = normal(2, 1, H, W)
    maps[0] = torch.nextafter(torch.tensor(0.1), torch.tensor(1.0)).where(maps[0] > 0, torch.tensor(0.1))
    found = color_adapt(maps, reverse(2))
    assert found[0].unique().numel() == 1


def test_partner_with_a_constant_channel_gives_a_constant_channel() -> None:
    maps = normal(2, C, H, W)
    maps[1, 2] = 4.0
    found = color_adapt(maps, reverse(2))
    assert found.isfinite().all()
    torch.testing.assert_close(found[0, 2], torch.full((H, W), 4.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_sample_reaches_its_partner_alone(value: float) -> None:
    maps = normal(B, C, H, W)
    clean = color_adapt(maps, reverse(B))
    maps[1, :, 0, 0] = value
    found = color_adapt(maps, reverse(B))
    others = [0, 2, 3, 5]
    assert torch.equal(found[others], clean[others])
    assert not found[B - 2].isfinite().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_statistics_are_computed_in_float32(dtype: torch.dtype) -> None:
    maps = (normal(B, C, 64, 64) + 30).to(dtype)
    found = color_adapt(maps, reverse(B))
    assert found.dtype == dtype
    assert torch.equal(found, color_adapt(maps.float(), reverse(B)).to(dtype))


def test_prob_is_the_share_of_samples() -> None:
    maps = normal(8, C, H, W)
    assert changed_samples(maps, run(ColorAdapt(prob=0.25), maps)).sum() == 2
    assert torch.equal(run(ColorAdapt(prob=0), maps), maps)


def test_random_partner_is_another_order_each_time() -> None:
    transform = ColorAdapt(prob=1, partner="random")
    torch.manual_seed(0)
    orders = [transform.sample(B, (H, W)).partner for _ in range(20)]
    assert all(torch.equal(order.sort().values, torch.arange(B)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) > 10


def test_partner_in_reverse_is_that_of_the_whole_batch() -> None:
    partner = ColorAdapt(prob=0.5).sample(8, (H, W)).partner
    moved = partner != torch.arange(8)
    assert moved.sum() == 4 and torch.equal(partner[moved], reverse(8)[moved])


@pytest.mark.parametrize("transform", [ColorAdapt(prob=1), EmbNoise(prob=1)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64])
def test_codes_are_embedded(transform: Callable, dtype: torch.dtype) -> None:
    codes = torch.randint(0, 9, (B, H, W), generator=torch.Generator().manual_seed(0)).to(dtype)
    codebook = normal(9, C)
    found = run(transform, codes, codebook=codebook)
    embeddings = F.embedding(codes.long(), codebook).permute(0, 3, 1, 2)
    assert torch.equal(found, run(transform, embeddings))


@pytest.mark.parametrize("transform", [ColorAdapt(), EmbNoise()], ids=repr)
def test_codes_without_a_codebook_are_refused(transform: Callable) -> None:
    with pytest.raises(ValueError, match=r"acts on embeddings, but the inputs are torch\.int64 codes"):
        run(transform, torch.zeros(B, H, W, dtype=torch.int64))


@pytest.mark.parametrize("transform", [ColorAdapt(), EmbNoise()], ids=repr)
def test_empty_batch_stays_empty(transform: Callable) -> None:
    assert run(transform, torch.zeros(0, C, H, W)).shape == (0, C, H, W)


@pytest.mark.parametrize("transform", [ColorAdapt(prob=0.5), EmbNoise()], ids=repr)
def test_everything_but_inputs_stays(transform: Callable) -> None:
    maps = normal(B, C, H, W)
    before = maps.clone()
    batch = {"inputs": maps, "gt_label": torch.arange(B), "gt_sem_seg": torch.zeros(B, 64, 56), "other": object()}
    others = {key: value for key, value in batch.items() if key != "inputs"}
    results = transform(batch)
    assert results.keys() == batch.keys()
    assert all(results[key] is value for key, value in others.items())
    assert torch.equal(maps, before)


def test_noise_is_added_to_the_chosen_samples() -> None:
    maps, samples = normal(4, C, H, W), torch.tensor([3, 1])
    channel, element = normal(2, C, 1, 1, seed=1), normal(2, C, H, W, seed=2)
    found = add_noise(maps, samples, channel, element)
    torch.testing.assert_close(found[3], maps[3] + channel[0] + element[0])
    torch.testing.assert_close(found[1], maps[1] + channel[1] + element[1])
    assert torch.equal(found[[0, 2]], maps[[0, 2]])


@pytest.mark.parametrize(("std", "channel_std"), [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_noise_has_the_deviations_asked_for(std: float, channel_std: float) -> None:
    noise = run(EmbNoise(std, channel_std, prob=1), torch.zeros(200, 16, 16, 16))
    per_channel = noise.mean((2, 3))
    assert noise.std((2, 3)).mean().item() == pytest.approx(std, rel=0.02, abs=1e-6)
    assert per_channel.std().item() == pytest.approx((channel_std**2 + std**2 / 256) ** 0.5, rel=0.05)


def test_relative_noise_is_in_units_of_each_channels_deviation() -> None:
    scales = torch.tensor([1.0, 0.0, 100.0])[:, None, None]
    maps = normal(400, 3, 8, 8) * scales + 7
    noise = run(EmbNoise(std=0.5, channel_std=0.0, prob=1.0, relative=True), maps) - maps
    torch.testing.assert_close(noise.std(dim=(0, 2, 3)), 0.5 * scales.flatten(), rtol=0.03, atol=1e-6)


def test_noise_reaches_its_share_of_the_samples() -> None:
    maps = normal(B, C, H, W)
    assert changed_samples(maps, run(EmbNoise(), maps)).sum() == B // 2
    alone = [changed_samples(maps[:1], run(EmbNoise(prob=0.3), maps[:1], seed)).item() for seed in range(200)]
    assert 30 < sum(alone) < 90


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_noise_keeps_the_type(dtype: torch.dtype) -> None:
    assert run(EmbNoise(prob=1), normal(2, C, H, W).to(dtype)).dtype == dtype


@pytest.mark.parametrize("transform", [ColorAdapt(), EmbNoise(), ColorAdapt(partner="random")], ids=repr)
def test_calls_do_not_grow_with_the_batch(transform: Callable, count_calls: Callable) -> None:
    batches = [normal(batch_size, C, H, W) for batch_size in (4, 256)]
    assert len({count_calls(lambda maps=maps: run(transform, maps)) for maps in batches}) == 1


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ColorAdapt, {"prob": 1.5}, r"prob must be a probability .* got 1\.5"),
        (ColorAdapt, {"partner": "next"}, "partner must be 'reverse' or 'random', got 'next'"),
        (ColorAdapt, {"eps": -1}, "eps must lie between 0 and 1, got -1"),
        (EmbNoise, {"prob": -1}, "prob must be a probability .* got -1"),
        (EmbNoise, {"std": float("nan")}, "std must be a number of at least 0, got nan"),
        (EmbNoise, {"channel_std": -2}, "channel_std must be a number of at least 0, got -2"),
    ],
)
def test_wrong_option_is_refused(build: type, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_registry_builds_them() -> None:
    built = [TRANSFORMS.build(dict(type=f"seitpp.{name}", prob=0.75)) for name in ("EmbNoise", "ColorAdapt")]
    assert repr(built) == (
        "[EmbNoise(std=1.0, channel_std=1.0, prob=0.75, relative=False), "
        "ColorAdapt(prob=0.75, partner='reverse', eps=1e-06)]"
    )


def test_passed_generator_makes_every_draw() -> None:
    transform = ColorAdapt(prob=0.3, partner="random")
    found = [transform.sample(5, (H, W), generator=torch.Generator().manual_seed(seed)).partner for seed in (1, 1)]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    transform.sample(5, (H, W), generator=torch.Generator().manual_seed(1))
    assert torch.equal(*found) and torch.equal(before, torch.get_rng_state())
