"""Shards written by Ray Data on a cluster: by the same worker, with Ray's scheduling and retries.

Ray is optional: `pip install "ray[data]"`. The source and the store must be reachable from every node, on a shared file
system or by URLs.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from seitpp.ingest import commit
from seitpp.ingest.job import Plan, ShardPlan, TokenizeJob
from seitpp.ingest.run import Executor, Progress
from seitpp.ingest.sources.files import is_url
from seitpp.ingest.worker import ShardWorker


class RayShardWorker:
    """Writes one shard per call; Ray keeps one instance in each of its processes. `codebook`: of a fitted tokenizer."""

    def __init__(self, job: TokenizeJob, codebook: np.ndarray | None) -> None:
        self.worker = ShardWorker(Plan(job, job.open_source(), job.build_tokenizer(codebook)))
        self.worker.output.lock(alone=False)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write the shard `row["shard"]`; what an earlier attempt put aside is used.

        An error is returned, since Ray would wrap and print it; only a process that dies is tried again.
        """
        shard = self.worker.plan.shards[row["shard"]]
        result = {"shard": row["shard"], "num_images": len(shard.images), "error": "", "of_system": False}
        try:
            commit.refuse_other_store(self.worker.job.out, self.worker.plan.settings.header())
            self.worker.run([shard])
        except (ValueError, OSError) as error:
            result.update(error=str(error) or repr(error), of_system=isinstance(error, OSError))
        return result


def ray_executor(num_workers: int, num_gpus: float) -> Executor:
    """Return an executor that hands shards to a Ray cluster; it starts a local one if none is running.

    Ray starts a process that died again, and the shard goes on from what that process had put aside.

    Args:
        num_workers: Processes that encode at the same time.
        num_gpus: GPUs of each; 0 for the CPU.
    """

    def execute(plan: Plan, shards: list[ShardPlan], progress: Progress) -> None:
        total, done = sum(len(shard.images) for shard in shards), 0
        if not shards:
            return
        progress(0, total)
        fitted = plan.job.fit is not None
        job = replace(_absolute(plan.job), device="cuda" if num_gpus else "cpu")
        with _cluster() as ray:
            rows = ray.data.from_items([{"shard": shard.number} for shard in shards], override_num_blocks=len(shards))
            results = rows.map(
                RayShardWorker,
                fn_constructor_args=(job, plan.tokenizer.codebook.cpu().numpy() if fitted else None),
                compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(shards))),
                num_gpus=num_gpus or None,
            )
            for result in results.iter_rows():
                if result["error"]:
                    raise (OSError if result["of_system"] else ValueError)(result["error"])
                done += result["num_images"]
                progress(done, total)

    return execute


def _absolute(job: TokenizeJob) -> TokenizeJob:
    """Return the job for processes with another working folder."""

    def absolute(path: str | None) -> str | None:
        return path if path is None or is_url(path) else os.path.abspath(path)

    paths = ("path", "root", "classes_file", "annotations")
    source = {name: absolute(value) if name in paths else value for name, value in job.source.items()}
    tokenizer = absolute(job.tokenizer) if isinstance(job.tokenizer, str) else job.tokenizer
    return replace(job, tokenizer=tokenizer, out=absolute(job.out), source=source)


@contextmanager
def _cluster() -> Iterator[Any]:
    """Yield Ray, connected to a running cluster or to one started for this run, with its own bars off."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError('--executor ray needs Ray Data: pip install "ray[data]"') from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
