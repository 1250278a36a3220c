"""`seed_worker`: loader processes draw anew at every epoch, and the same again for the same seed."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from seitpp.datasets import seed_worker


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
