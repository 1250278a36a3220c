"""The sampler that keeps an epoch to whole optimizer steps."""

from collections.abc import Callable

import pytest

import seitpp.datasets.samplers as samplers
from seitpp.datasets import WholeStepSampler


@pytest.fixture
def as_ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[WholeStepSampler]]:
    """Samplers of every rank of a world, on 23 samples."""

    def build(world_size: int, samples_per_step: int) -> list[WholeStepSampler]:
        monkeypatch.setattr(samplers, "get_world_size", lambda: world_size)
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
