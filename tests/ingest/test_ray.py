"""Ray as the executor: the store of a local run, and what becomes of errors and of processes that die."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from seitpp.ingest import Processes, TokenizeJob, clean, make_plan, make_report, tokenize
from seitpp.ingest.ray import RayShardWorker, _absolute, ray_executor

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def ray() -> ModuleType:
    """Ray Data."""
    pytest.importorskip("ray.data")
    return pytest.importorskip("ray")


def run_with_ray(job: TokenizeJob, num_workers: int = 2) -> list[tuple[int, int]]:
    """Does what the tool does; returns the progress that was reported."""
    plan, seen = make_plan(job, Processes()), []
    totals = tokenize(plan, Processes(), lambda *counts: seen.append(counts), print, ray_executor(num_workers, 0))
    make_report(plan, totals)
    clean(job.out)
    return seen


@slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_store_is_that_of_a_local_run(
    ray: ModuleType,
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class_folder(tmp_path / "images", per_class=10, damaged=True)
    monkeypatch.chdir(tmp_path)
    run_job(make_job("images", "local"))
    seen = run_with_ray(make_job("images", "ray"))
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")
    assert seen[0] == (0, 21) and seen[-1] == (21, 21)
    assert not ray.is_initialized()


@slow
@pytest.mark.filterwarnings("ignore")
def test_unreadable_image_ends_the_run_with_the_same_message(
    ray: ModuleType, class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images", damaged=True)
    job = make_job(source, tmp_path / "local", skip_unreadable=False)
    messages = []
    for run, out in ((run_job, "local"), (run_with_ray, "ray")):
        with pytest.raises(ValueError, match=r"ant/1_damaged.png cannot be read") as caught:
            run(replace(job, out=str(tmp_path / out)))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@slow
@pytest.mark.filterwarnings("ignore")
def test_process_that_dies_is_replaced(
    ray: ModuleType, class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images", per_class=300)
    job = make_job(source, tmp_path / "local", save_seconds=0.0)
    run_job(job)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            if len(list((tmp_path / "ray").glob("shard-*.bin"))) > 5:
                workers = [pid for pid in processes_named(b"RayShardWorker") if pid != os.getpid()]
                if workers:
                    os.kill(workers[0], signal.SIGKILL)
                    killed.append(workers[0])
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    run_with_ray(replace(job, out=str(tmp_path / "ray")))
    killer.join(5)
    assert killed and files_of(tmp_path / "ray") == files_of(tmp_path / "local")


def processes_named(part: bytes) -> list[int]:
    """Processes of this machine with `part` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if part in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_errors_of_a_worker_are_returned(
    class_folder: Callable, make_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    worker = RayShardWorker(make_job(class_folder(tmp_path / "images"), tmp_path / "store"), None)
    assert worker({"shard": 1}) == {"shard": 1, "num_images": 4, "error": "", "of_system": False}

    def fail(_: object) -> None:
        raise kind("no")

    monkeypatch.setattr(worker.worker, "run", fail)
    assert worker({"shard": 0}) == {"shard": 0, "num_images": 4, "error": "no", "of_system": kind is OSError}


def test_paths_become_absolute_for_other_processes(
    make_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_job("images", "store", split="train")
    moved = _absolute(replace(job, source={**job.source, "root": None, "annotations": "s3://bucket/maps"}))
    assert moved.out == str(tmp_path / "store")
    assert moved.source == {
        "path": str(tmp_path / "images"),
        "split": "train",
        "root": None,
        "annotations": "s3://bucket/maps",
    }
