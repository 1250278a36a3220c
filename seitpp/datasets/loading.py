"""How loaders order and seed: epochs of whole optimizer steps, and generators of worker processes."""

import random
from collections.abc import Sized

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_world_size

from seitpp.registry import DATA_SAMPLERS, FUNCTIONS


@DATA_SAMPLERS.register_module()
class WholeStepSampler(DefaultSampler):
    """A shuffled epoch cut to whole optimizer steps, for training that accumulates batches.

    Gradients that wait for the rest of their step are not in a checkpoint. With this sampler no epoch ends inside a
    step, so checkpoints lose nothing, and an epoch has as many steps as without accumulation. One step takes
    `samples_per_step`: processes x batch x accumulated batches. mmengine passes the run's seed.
    """

    def __init__(self, dataset: Sized, samples_per_step: int, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=False)
        steps = len(dataset) // samples_per_step
        if samples_per_step % get_world_size() or not steps:
            raise ValueError(
                f"samples_per_step={samples_per_step} must be a multiple of the {get_world_size()} processes and at "
                f"most the {len(dataset)} samples of the data set"
            )
        # The parent deals out the first `total_size` of its shuffled order; what is left over changes every epoch.
        self.total_size = steps * samples_per_step
        self.num_samples = self.total_size // get_world_size()


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed numpy's and Python's generators of a loader process as torch seeds its own: anew at every epoch.

    mmengine's default gives a process the same seed at each epoch, hence each image the same crop and flip. Torch
    draws the seed in the main process, where `StepSeedHook` makes it a function of (seed, epoch, rank).
    """
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)
