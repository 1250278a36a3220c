"""Mask ratios, masked and dropped sets, and noise that is a function of the sample."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seitpp.models.mtm.masking import TruncatedNormalRatio, count_patches, draw_masks, hashed_uniform


def truncated_normal_moments(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Mean and variance by summing the density over a fine grid."""
    places = np.linspace(low, high, 200001)
    density = np.exp(-((places - mean) ** 2) / (2 * std**2))
    average = (places * density).sum() / density.sum()
    return average, ((places - average) ** 2 * density).sum() / density.sum()


def test_mean_of_the_papers_ratio() -> None:
    generator = torch.Generator().manual_seed(0)
    sampler = TruncatedNormalRatio(mean=0.45, std=0.25, low=0.4, high=1.0)
    ratios = [sampler.sample(generator) for _ in range(20000)]
    assert np.mean(ratios) == pytest.approx(0.607, abs=0.003)
    assert 0.4 <= min(ratios) < 0.401 and 0.98 < max(ratios) <= 1


@pytest.mark.parametrize(
    "sizes", [(0.45, 0.25, 0.4, 1.0), (0.55, 0.25, 0.5, 1.0), (0.9, 0.1, 0.2, 0.8), (0.1, 0.05, 0.4, 1.0)]
)
def test_moments_equal_numerical_integration(sizes: tuple[float, ...]) -> None:
    sampler = TruncatedNormalRatio(*sizes)
    ratios = [sampler.from_uniform((place + 0.5) / 4000) for place in range(4000)]
    mean, variance = truncated_normal_moments(*sizes)
    assert np.mean(ratios) == pytest.approx(mean, abs=1e-4)
    assert np.var(ratios) == pytest.approx(variance, rel=1e-2)
    assert min(ratios) >= sizes[2] and max(ratios) <= sizes[3]
    assert ratios == sorted(ratios)


def test_ends_of_the_distribution_are_the_limits() -> None:
    sampler = TruncatedNormalRatio(low=0.4, high=1.0)
    assert sampler.from_uniform(0.0) == pytest.approx(0.4, abs=1e-12)
    assert sampler.from_uniform(1.0) == pytest.approx(1.0, abs=1e-12)


def test_equal_limits_give_that_ratio() -> None:
    sampler = TruncatedNormalRatio(mean=0.9, std=0.001, low=0.5, high=0.5)
    assert {sampler.sample() for _ in range(5)} == {0.5}


def test_ratio_follows_its_generator() -> None:
    sampler = TruncatedNormalRatio()
    first, again = (sampler.sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == again != sampler.sample(torch.Generator().manual_seed(4))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.6, 0.5), (0.5, 1.1), (-0.1, 0.5)])
def test_wrong_limits_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"0 < low <= high <= 1, got low={low}, high={high}"):
        TruncatedNormalRatio(low=low, high=high)


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_wrong_deviation_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match=f"std must be positive, got {std}"):
        TruncatedNormalRatio(std=std)


def test_range_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mean 0\.1 and std 0\.01 has no weight in \[0\.5, 1\.0\]"):
        TruncatedNormalRatio(mean=0.1, std=0.01, low=0.5)


@pytest.mark.parametrize(
    ("patches", "ratio", "count"), [(196, 0.4, 79), (196, 0.5, 98), (196, 0.6, 118), (196, 1.0, 196), (16, 0.4, 7)]
)
def test_counts_are_rounded_up(patches: int, ratio: float, count: int) -> None:
    assert count_patches(patches, ratio) == count


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 60))
def test_masked_and_dropped_sets(data: st.DataObject, batch: int, patches: int) -> None:
    masked = data.draw(st.integers(0, patches))
    dropped = data.draw(st.integers(0, masked))
    noise = torch.rand(batch, patches, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    masks = draw_masks(noise, masked, dropped)
    for sample in range(batch):
        by_noise = sorted(range(patches), key=noise[sample].tolist().__getitem__)
        assert masks.mask[sample].nonzero().flatten().tolist() == sorted(by_noise[:masked])
        assert masks.ids_mask[sample].tolist() == sorted(by_noise[:masked])
        assert masks.ids_keep[sample].tolist() == sorted(by_noise[dropped:])
        gone = set(range(patches)) - set(masks.ids_keep[sample].tolist())
        assert len(gone) == dropped and gone <= set(masks.ids_mask[sample].tolist())


@pytest.mark.parametrize(("masked", "dropped"), [(3, 4), (11, 2), (3, -1)])
def test_impossible_counts_are_refused(masked: int, dropped: int) -> None:
    with pytest.raises(ValueError, match=f"0 <= dropped <= masked <= patches, got {dropped}, {masked}, 10"):
        draw_masks(torch.rand(2, 10), masked, dropped)


def test_hashed_noise_depends_on_the_key_alone() -> None:
    keys = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    together = hashed_uniform(keys, 37)
    for place in (0, 7, 499):
        assert torch.equal(hashed_uniform(keys[place : place + 1], 37)[0], together[place])
    assert torch.equal(hashed_uniform(keys.flip(0), 37), together.flip(0))
    assert torch.equal(hashed_uniform(keys.int(), 37), together)


def test_hashed_noise_is_uniform() -> None:
    noise = hashed_uniform(torch.arange(4096), 196).double()
    assert noise.min() >= 0 and noise.max() < 1
    assert noise.mean().item() == pytest.approx(0.5, abs=0.002)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.001)
    shares = torch.histc(noise.float(), bins=64, min=0, max=1) / noise.numel()
    assert (shares * 64 - 1).abs().max() < 0.04
    assert (noise.mean(dim=0) - 0.5).abs().max() < 0.025  # every place of a sample
    assert (noise.mean(dim=1) - 0.5).abs().max() < 0.1  # every sample


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_neighbouring_keys_and_places_are_uncorrelated(seed: int) -> None:
    noise = hashed_uniform(torch.arange(4097), 64, seed).numpy()
    for one, other in ((noise[:-1], noise[1:]), (noise[:, :-1], noise[:, 1:]), (noise[:-1, 1:], noise[1:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01


def test_seeds_change_all_of_the_noise() -> None:
    keys = torch.arange(512)
    seeds = [0, 1, 2, 1 << 32, (1 << 63) - 1]
    noises = [hashed_uniform(keys, 64, seed).numpy().ravel() for seed in seeds]
    correlations = np.corrcoef(noises) - np.eye(len(seeds))
    assert abs(correlations).max() < 0.03
    assert len({noise.tobytes() for noise in noises}) == len(seeds)


@pytest.mark.parametrize("seed", [1 << 63, (1 << 64) - 1, 1 << 100, -1, -(1 << 63)])
def test_any_integer_is_a_seed(seed: int) -> None:
    noise = hashed_uniform(torch.arange(256), 64, seed)
    assert noise.min() >= 0 and noise.max() < 1
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)


def test_large_keys_are_fine() -> None:
    noise = hashed_uniform(torch.arange(1 << 40, (1 << 40) + 256), 64)
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01) and noise.unique().numel() > 16000


def test_hash_equals_its_definition_in_python_integers() -> None:
    """SplitMix64's finaliser on seed and counter, all modulo 2 ** 64; the top 24 bits are the number."""

    def slow(key: int, place: int, count: int, seed: int) -> float:
        value = (key * count + place + 1) * 0x9E3779B97F4A7C15 + seed * 0xBF58476D1CE4E5B9
        value %= 1 << 64
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % (1 << 64)
        return float(Fraction((value ^ (value >> 31)) >> 40, 1 << 24))

    for seed in (0, 7, 1 << 62):
        found = hashed_uniform(torch.tensor([0, 3, 10**9]), 5, seed)
        expected = [[slow(key, place, 5, seed) for place in range(5)] for key in (0, 3, 10**9)]
        assert found.tolist() == expected


def test_masks_of_hashed_noise_cover_all_places_evenly() -> None:
    masks = draw_masks(hashed_uniform(torch.arange(4096), 16), math.ceil(16 * 0.6), 7)
    assert (masks.mask.float().mean(dim=0) - 10 / 16).abs().max() < 0.03
