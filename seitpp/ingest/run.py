"""Images to a store, in one process or many: prepare, write shards, merge."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from seitpp.ingest import merging, run_lock
from seitpp.ingest.fitting import fitted_codebook
from seitpp.ingest.job import Plan, ShardPlan, TokenizeJob
from seitpp.ingest.merging import Totals
from seitpp.ingest.processes import Processes
from seitpp.ingest.worker import ShardWorker

Executor = Callable[[Plan, list[ShardPlan], "Progress"], None]
"""Writes the given shards of a plan."""
Progress = Callable[[int, int], None]
"""Called with images done and their total, of this process."""

_PUBLISH_SECONDS = 60


def make_plan(job: TokenizeJob, processes: Processes) -> Plan:
    """Open a job's source and build its tokenizer, fitted to the images if its config asks for that.

    Raises:
        ValueError: The images or the tokenizer are not usable, or the output lies among the images.
        OSError: Something else, or another run at work, is where the output is to go.
    """
    if processes.is_first:
        merging.refuse_foreign(job.out)
    source = job.open_source()
    source.refuse_inside(job.out)
    if job.label_size is not None and not source.annotated:
        raise ValueError(f"{job.source['path']} has no label maps; leave out --label-size")
    if processes.is_first and not merging.is_finished(job.out):
        run_lock.hold(job.out, alone=True)
    plan = Plan(job, source, job.build_tokenizer(fitted_codebook(job, source, processes)))
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

    Args:
        plan: The run; the same in every process.
        processes: This process among those of the run.
        progress: Called with images done and their total in this process.
        warn: Called with warnings.
        executor: Writes the shards; by default this process does its share.

    Returns:
        Totals in the first process; None in the others, and if the store was complete already.

    Raises:
        ValueError: Another run's store lies there, this process sees other images or weights than the first one, or
            images cannot be read.
        OSError: The store cannot be written.
    """
    complete, todo = False, None
    if processes.is_first:
        complete, warnings = merging.begin(plan)
        for warning in warnings:
            warn(warning)
        todo = [] if complete else merging.pending(plan, warn)
        if not complete:
            run_lock.hold(plan.job.out, alone=False)
    mine = processes.share(todo)
    if mine:
        run_lock.hold(plan.job.out, alone=False)
    try:
        if mine:  # on another machine, or a moment later, paths may show other images or weights
            merging.refuse_other_store(plan.job.out, plan.settings.header())
        (executor or _here(processes))(plan, [plan.shards[number] for number in mine], progress)
        processes.wait()
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            merging.publish(plan)
        raise
    return merging.finish(plan) if processes.is_first and not complete else None


def _here(processes: Processes) -> Executor:
    """The executor of a process that writes its shards itself."""

    def execute(plan: Plan, shards: list[ShardPlan], progress: Progress) -> None:
        done, total = 0, sum(shard.stop - shard.start for shard in shards)
        published = monotonic()

        def advance(count: int) -> None:
            nonlocal done, published
            done += count
            progress(done, total)
            if processes.is_first and monotonic() - published >= _PUBLISH_SECONDS:
                merging.publish(plan)
                published = monotonic()

        ShardWorker(plan).run(shards, advance)

    return execute
