"""The processes of one run as `torchrun` starts them: who they are, waiting for each other, sharing a list."""

import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

# Ranks wait for the slowest one, which may have many hours of images more.
_PATIENCE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """This process among those of its run.

    Args:
        rank: Number of this process.
        world_size: Number of processes.
        local_rank: Number of this process on its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def join(cls) -> "Processes":
        """The processes that `torchrun` announces in the environment; one if there is no launcher.

        Call it inside `process_group_ended`.
        """
        processes = cls(*(int(os.environ.get(name, default)) for name, default in _VARIABLES))
        if processes.world_size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return processes

    @property
    def is_first(self) -> bool:
        """Whether this process prepares, merges and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            with _together():
                dist.barrier()

    def share(self, numbers: Sequence[int] | None) -> list[int]:
        """Every n-th of the first process's numbers, other ones in each process; others pass None."""
        if self.world_size == 1:
            return list(numbers or ())
        count = torch.tensor([len(numbers) if numbers is not None else 0])
        with _together():
            dist.broadcast(count, 0)
            shared = torch.zeros(int(count), dtype=torch.int64)
            if numbers:
                shared = torch.tensor(numbers, dtype=torch.int64)
            dist.broadcast(shared, 0)
        return shared[self.rank :: self.world_size].tolist()


@contextmanager
def _together() -> Iterator[None]:
    """Turns what a process sees when another one is gone into an error that says so."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError("another process of this run has ended before; its own message says why") from error


_VARIABLES = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
