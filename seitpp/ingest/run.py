"""Images to a store, in one process or many: prepare, write shards, commit."""

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic

import torch.distributed as dist
from mmengine.dist import barrier, broadcast_object_list

from seitpp.ingest import commit
from seitpp.ingest.commit import Totals
from seitpp.ingest.fitting import fit_codebook, fitted_codebook
from seitpp.ingest.job import Plan, ShardPlan, TokenizeJob
from seitpp.ingest.output import OutputFolder
from seitpp.ingest.sources import ImageSource
from seitpp.ingest.worker import ShardWorker
from seitpp.tokenizers.base import Tokenizer

Executor = Callable[[Plan, list[ShardPlan], "Progress"], None]
"""Writes the given shards of a plan."""
Progress = Callable[[int, int], None]
"""Called with images done and their total, of this process."""

_PUBLISH_SECONDS = 60
# Ranks wait for the slowest one, which may have many hours of images more.
_PATIENCE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """This process among those of its run."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # its number on its machine

    @classmethod
    def join(cls) -> "Processes":
        """Join the processes that `torchrun` announces in the environment; this one alone if there is no launcher.

        Call it inside `process_group_ended`.
        """
        given = {"rank": "RANK", "world_size": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
        processes = cls(**{name: int(os.environ[key]) for name, key in given.items() if key in os.environ})
        if processes.world_size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return processes

    @property
    def is_first(self) -> bool:
        """Whether this process prepares, commits and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        with _together():
            barrier()

    def share(self, numbers: Sequence[int] | None) -> list[int]:
        """Return every n-th of the first process's numbers, other ones in each process; others pass None."""
        shared = [list(numbers or ())]
        with _together():
            broadcast_object_list(shared)
        return shared[0][self.rank :: self.world_size]


@contextmanager
def _together() -> Iterator[None]:
    """Turn what a process sees when another one is gone into an error that says so."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError("another process of this run has ended before; its own message says why") from error


def make_plan(
    job: TokenizeJob, processes: Processes, source: ImageSource | None = None, tokenizer: Tokenizer | None = None
) -> Plan:
    """Open a job's source and build its tokenizer, fitted to the images if its config asks for that.

    `source` and `tokenizer` are those of the job, where they were opened and built before.
    """
    if processes.is_first:
        commit.refuse_foreign(job.out)
    source = job.open_source() if source is None else source
    source.refuse_inside(job.out)
    if job.label_size is not None and not source.annotated:
        raise ValueError(f"{job.source['path']} has no label maps; leave out --label-size")
    if processes.is_first:
        if not commit.is_finished(job.out):
            OutputFolder(job.out).lock(alone=True)
        fit_codebook(job, source)
    processes.wait()
    if tokenizer is None:
        tokenizer = job.build_tokenizer(fitted_codebook(job, source))
    plan = Plan(job, source, tokenizer)
    if source.annotated:
        _require_labels_of_the_same_part(plan)
    return plan


def _require_labels_of_the_same_part(plan: Plan) -> None:
    """Refuse label maps that would show more, or another part, of an image than its tokens do."""
    fitting = plan.fitting
    if fitting.resize_mode == "exact":
        return
    height, width = fitting.image_size
    if fitting.label_size is None or fitting.label_size[0] * width != fitting.label_size[1] * height:
        size = "0 0 (kept)" if fitting.label_size is None else "{} {}".format(*fitting.label_size)
        raise ValueError(
            f"the tokenizer cuts {height} x {width} pixels out of each image (resize_mode={fitting.resize_mode!r}), so "
            f"label maps must be cut alike, to a size of that shape; --label-size is {size}"
        )


def tokenize(
    plan: Plan,
    processes: Processes,
    progress: Progress,
    warn: Callable[[str], None],
    executor: Executor | None = None,
) -> Totals | None:
    """Write the store of a plan, from where an earlier run left it.

    Returns:
        Totals in the first process; None in the others, and if the store was complete already.

    Raises:
        ValueError: Another run's store lies there, this process sees other images or weights than the first one, or
            images cannot be read.
        OSError: The store cannot be written.
    """
    complete, todo = False, None
    if processes.is_first:
        complete = commit.begin(plan, warn)
        todo = [] if complete else commit.pending(plan, warn)
    mine = processes.share(todo)
    try:
        if mine:
            plan.output.lock(alone=processes.is_first)
            # On another machine, or a moment later, paths may show other images or weights.
            commit.refuse_other_store(plan.job.out, plan.settings.header())
        (executor or _here(processes))(plan, [plan.shards[number] for number in mine], progress)
        processes.wait()
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            commit.publish(plan)
        raise
    finally:
        if not processes.is_first:
            plan.output.unlock()
    return commit.finish(plan) if processes.is_first and not complete else None


def _here(processes: Processes) -> Executor:
    """Return the executor of a process that writes its shards itself."""

    def execute(plan: Plan, shards: list[ShardPlan], progress: Progress) -> None:
        done, total = 0, sum(len(shard.images) for shard in shards)
        published = monotonic()

        def advance(count: int) -> None:
            nonlocal done, published
            done += count
            progress(done, total)
            if processes.is_first and monotonic() - published >= _PUBLISH_SECONDS:
                commit.publish(plan)
                published = monotonic()

        ShardWorker(plan).run(shards, advance)

    return execute
