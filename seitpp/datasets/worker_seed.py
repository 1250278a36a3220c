"""Seeds of loader processes, for data sets that augment where they load."""

import random

import numpy as np
import torch

from seitpp.registry import FUNCTIONS


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed numpy's and Python's generators of a loader process as torch seeds its own: anew at every epoch.

    mmengine's default gives a process the same seed at each epoch, hence each image the same crop and flip. Torch
    draws the seed in the main process, where `StepSeedHook` makes it a function of (seed, epoch, rank).
    """
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)
