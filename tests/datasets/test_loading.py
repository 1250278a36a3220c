"""The sampler that keeps an epoch to whole optimizer steps, and seeds of loader processes."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import seitpp.datasets.loading as loading
from seitpp.datasets import WholeStepSampler, seed_worker


@pytest.fixture
def as_ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[WholeStepSampler]]:
    """Samplers of every rank of a world, on 23 samples."""

    def build(world_size: int, samples_per_step: int) -> list[WholeStepSampler]:
        monkeypatch.setattr(loading, "get_world_size", lambda: world_size)
        made = []
        for rank in range(world_size):
            monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, world_size))
            made.append(WholeStepSampler(range(23), samples_per_step, seed=3))
        return made

    return build


@pytest.mark.parametrize(("world_size", "samples_per_step", "length"), [(1, 4, 20), (2, 4, 10), (2, 8, 8)])
def test_epoch_is_whole_steps_without_repeats(
    as_ranks: Callable, world_size: int, samples_per_step: int, length: int
) -> None:
    ranks = [list(sampler) for sampler in as_ranks(world_size, samples_per_step)]
    assert [len(places) for places in ranks] == [length] * world_size
    assert all(len(sampler) == length for sampler in as_ranks(world_size, samples_per_step))
    together = [place for places in ranks for place in places]
    assert len(set(together)) == len(together) == length * world_size


def test_samples_left_over_change_with_the_epoch(as_ranks: Callable) -> None:
    (sampler,) = as_ranks(1, 8)
    first = set(sampler)
    sampler.set_epoch(1)
    assert set(sampler) != first and len(set(sampler)) == 16


@pytest.mark.parametrize("samples_per_step", [24, 3])
def test_steps_that_do_not_fit_are_refused(as_ranks: Callable, samples_per_step: int) -> None:
    message = f"samples_per_step={samples_per_step} must be a multiple of the 2 processes and at most the 23 samples"
    with pytest.raises(ValueError, match=message):
        as_ranks(2, samples_per_step)


class Draws(Dataset):
    """Each sample is what numpy's and Python's generators give."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[float, float]:
        return np.random.rand(), random.random()


def epoch(seed: int) -> list[float]:
    torch.manual_seed(seed)
    loader = DataLoader(Draws(), num_workers=2, worker_init_fn=seed_worker)
    return [float(value) for batch in loader for value in batch]


def test_draws_follow_the_main_process_seed() -> None:
    first = epoch(1)
    assert epoch(1) == first
    assert not set(epoch(2)) & set(first)
    assert len(set(first)) == len(first)  # the processes differ, too
