"""A run that is killed and started again gives the store of one that is not, file by file."""

import errno
import gc
import json
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import pytest

from seitpp.ingest import Processes, TokenizeJob, commit, make_plan, output, tokenize
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.io.process_group import process_group_ended
from seitpp.storage import StoreReader


class Killed(BaseException):
    """Stands for the end of the process."""


def work(job: TokenizeJob, run_job: Callable, environment: dict[str, str], errors: SimpleQueue | None) -> None:
    """One process of a run, in a child of this one."""
    gc.freeze()  # what the tests hold is not gone through at the end of a group
    os.environ.update(environment)
    try:
        with process_group_ended():
            run_job(job, Processes.join())
    except OSError as error:
        if errors is None:
            raise
        errors.put(str(error))


def start(job: TokenizeJob, run_job: Callable, world_size: int, errors: SimpleQueue | None = None) -> list[BaseProcess]:
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
    common = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    children = [
        get_context("fork").Process(target=work, args=(job, run_job, {**common, "RANK": str(rank)}, errors))
        for rank in range(world_size)
    ]
    for child in children:
        child.start()
    return children


def finish(children: list[BaseProcess]) -> None:
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * len(children)


def kill_during(children: list[BaseProcess], delay: float) -> bool:
    """Kill all after a while; False if they had finished before."""
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline and any(child.is_alive() for child in children):
        time.sleep(0.001)
    for child in children:
        child.kill()
    for child in children:
        child.join()
    return any(child.exitcode == -signal.SIGKILL for child in children)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("num_kills", [4, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 2), (2, 0)])
def test_store_of_a_killed_run_is_that_of_an_undisturbed_one(
    world_size: int,
    workers: int,
    num_kills: int,
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
) -> None:
    source = class_folder(tmp_path / "images", per_class=24, damaged=True)
    job = make_job(source, tmp_path / "whole", save_seconds=0.0, num_workers=workers)
    run_job(job)
    expected, expected_hash = files_of(tmp_path / "whole"), StoreReader(tmp_path / "whole").content_hash
    assert not any(name.startswith(STAGING) for name in expected)

    begun = time.monotonic()
    finish(start(replace(job, out=str(tmp_path / "timed")), run_job, world_size))
    seconds = time.monotonic() - begun
    assert files_of(tmp_path / "timed") == expected
    finish(start(replace(job, out=str(tmp_path / "timed")), run_job, world_size))
    assert files_of(tmp_path / "timed") == expected

    moments = random.Random(world_size)
    out, kills, stores = tmp_path / "killed", 0, 0
    while kills < num_kills or stores == 0:
        finished = kills >= num_kills
        children = start(replace(job, out=str(out)), run_job, world_size)
        if finished:
            finish(children)
        elif kill_during(children, moments.uniform(0.02, 0.8 * seconds)):
            kills += 1
            continue
        assert files_of(out) == expected
        reader = StoreReader(out)
        assert reader.content_hash == expected_hash and len(reader) == 48 and not reader.verify()
        shutil.rmtree(out)
        stores += 1


def crash_at(monkeypatch: pytest.MonkeyPatch, operation: int) -> list[str]:
    """Let the process end at its n-th step that changes a file (-1: never); returns what was done."""
    done: list[str] = []

    def step(name: str) -> None:
        done.append(name)
        if 0 <= operation < len(done):
            raise Killed

    def patched(method: Callable, name: str) -> Callable:
        def call(self: OutputFolder, *args: Any) -> Any:
            step(f"{name} {args[0]}")
            return method(self, *args)

        return call

    def rename(source: Path, target: Path, replace_file: Callable = os.replace) -> None:
        step(f"rename {Path(target).name}")
        replace_file(source, target)

    def remove_some(path: Path, ignore_errors: bool, remove: Callable = shutil.rmtree) -> None:
        for file in sorted(Path(path).rglob("*"), reverse=True)[:2]:
            if file.is_file():
                file.unlink()
        step(f"remove the rest of {Path(path).name}")
        remove(path, ignore_errors=ignore_errors)

    for name in ("write", "move", "remove", "remove_folder"):
        monkeypatch.setattr(OutputFolder, name, patched(getattr(OutputFolder, name), name))
    monkeypatch.setattr(output.os, "replace", rename)
    monkeypatch.setattr(output.shutil, "rmtree", remove_some)
    return done


@pytest.mark.parametrize("kind", ["classes", "label maps"])
def test_every_single_step_may_be_the_last_one(
    kind: str,
    class_folder: Callable,
    pair_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "classes":
        source, split = class_folder(tmp_path / "images", per_class=3, damaged=True), None
    else:
        source, split = pair_folder(tmp_path / "images", count=4), "training"
        (source / "images" / "training" / "2.png").write_text("no image")
    job = make_job(source, tmp_path / "whole", split=split, samples_per_shard=3, save_seconds=0.0)
    with monkeypatch.context() as patch:
        steps = crash_at(patch, -1)
        run_job(job)
    expected = files_of(tmp_path / "whole")
    assert len(steps) > 30 and any("label" in name for name in expected) == (kind == "label maps")

    for operation in range(len(steps)):
        out = tmp_path / f"at-{operation}"
        with monkeypatch.context() as patch:
            crash_at(patch, operation)
            with pytest.raises(Killed):
                run_job(replace(job, out=str(out)))
        run_job(replace(job, out=str(out)))
        assert files_of(out) == expected, f"killed at {steps[operation]}"


def test_finished_run_is_left_alone(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    assert run_job(job).num_samples == 8
    before, times = files_of(tmp_path / "store"), (tmp_path / "store").stat().st_mtime_ns
    assert run_job(job) is None
    assert files_of(tmp_path / "store") == before and (tmp_path / "store").stat().st_mtime_ns == times


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_number_of_workers_does_not_show(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images", damaged=True)
    for workers in (0, 1, 3):
        run_job(make_job(source, tmp_path / str(workers), num_workers=workers))
    assert files_of(tmp_path / "0") == files_of(tmp_path / "1") == files_of(tmp_path / "3")


def test_full_disk_leaves_a_readable_store_that_can_be_continued(
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(class_folder(tmp_path / "images", per_class=6), tmp_path / "store")
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> None:
        if "shard-00002" in path.name:
            write_bytes(path, content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"shard-00002.bin cannot be written: No space left on device. What was"):
            run_job(job)
    reader = StoreReader(tmp_path / "store", allow_incomplete=True)
    assert len(reader) == 8 and not reader.verify() and not reader.header["complete"]
    assert not list((tmp_path / "store").rglob("shard-00002*"))

    run_job(job)
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


def test_process_that_fails_ends_the_others_and_leaves_a_readable_store(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images", per_class=12), tmp_path / "store")
    run_job(replace(job, out=str(tmp_path / "whole")))
    messages = get_context("fork").SimpleQueue()

    def run(job: TokenizeJob, processes: Processes) -> None:
        if os.environ["RANK"] == "1":
            write = OutputFolder.write

            def fail(self: OutputFolder, name: str, content: bytes) -> None:
                if name == "shard-00005.bin":
                    raise OSError("the disk is gone")
                write(self, name, content)

            OutputFolder.write = fail
        run_job(job, processes)

    children = start(job, run, 2, errors=messages)
    for child in children:
        child.join(60)
    found = sorted(messages.get() for _ in children)
    assert found == ["another process of this run has ended before; its own message says why", "the disk is gone"]
    reader = StoreReader(tmp_path / "store", allow_incomplete=True)
    files = [shard["file"] for shard in reader.header["shards"]]
    assert set(files) >= {"shard-00001.bin", "shard-00003.bin"} and not reader.verify()
    run_job(job)
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


def test_error_in_a_finished_store_does_not_make_it_unfinished(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    run_job(job)
    before = files_of(tmp_path / "store")

    def broken(*_: Any) -> None:
        raise RuntimeError("executor is broken")

    plan = make_plan(job, Processes())
    with pytest.raises(RuntimeError, match="executor is broken"):
        tokenize(plan, Processes(), lambda done, total: None, print, broken)
    assert files_of(tmp_path / "store") == before


@pytest.mark.parametrize("alone", [True, False])
def test_second_run_into_the_same_folder_is_refused(
    alone: bool,
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    held = get_context("fork").Event(), get_context("fork").Event()

    def hold() -> None:
        OutputFolder(job.out).lock(alone)
        held[0].set()
        held[1].wait(60)

    child = get_context("fork").Process(target=hold)
    child.start()
    assert held[0].wait(60)
    monkeypatch.setattr(output, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(BlockingIOError, match=r"another writer is at work in the store .*; wait until it has ended"):
        run_job(job)
    held[1].set()
    child.join(60)
    assert run_job(job).num_samples == 8


def test_image_that_was_repaired_is_read_when_none_may_be_left_out(
    class_folder: Callable, image: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images", damaged=True)
    job = make_job(source, tmp_path / "store", samples_per_shard=4)
    plan = make_plan(job, Processes())
    tokenize(plan, Processes(), lambda done, total: None, print)  # skips it; killed before the report
    header = tmp_path / "store" / "header.json"
    header.write_bytes(header.read_bytes().replace(b'"complete": true', b'"complete": false'))

    strict = replace(job, skip_unreadable=False)
    with pytest.raises(ValueError, match=r"ant/1_damaged.png cannot be read: it is of no known image format"):
        run_job(strict)
    image(source / "ant" / "1_damaged.png", seed=5)
    assert run_job(strict).num_samples == 9
    run_job(replace(strict, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("began_on", ["cpu", "cuda"])
def test_what_may_round_otherwise_is_warned_of(
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    began_on: str,
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    with monkeypatch.context() as patch:
        crash_at(patch, 12)
        with pytest.raises(Killed):
            run_job(job)
    run_file = tmp_path / "store" / ".tokenize" / "run.json"
    run_file.write_text(json.dumps({"batch_size": 2, "device": began_on}))
    warnings: list[str] = []
    run_job(replace(job, batch_size=3), warn=warnings.append)  # on a CPU, whose pieces do not depend on it
    expected = [] if began_on == "cpu" else ["--device was cuda when this store was begun and is cpu now"]
    assert [warning.partition(":")[0] for warning in warnings] == expected


def test_codes_put_aside_in_parts_are_taken_back(
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    put_aside: Callable,
    tmp_path: Path,
) -> None:
    source = class_folder(tmp_path / "images", per_class=5)
    job = make_job(source, tmp_path / "store", samples_per_shard=8, save_seconds=0.0)
    assert [path.name for path in put_aside(job)] == ["shard-00000-00000000.npz", "shard-00000-00000002.npz"]
    run_job(job)
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


def test_shards_of_large_samples_hold_fewer_of_them(class_folder: Callable, make_job: Callable, tmp_path: Path) -> None:
    source = class_folder(tmp_path / "images")
    plain = make_plan(make_job(source, tmp_path / "codes", samples_per_shard=None), Processes())
    assert plain.settings.samples_per_shard == 4096
    dct = {"type": "seitpp.BlockDCT", "image_size": 256, "quality": 90}
    large = make_plan(make_job(source, tmp_path / "dct", samples_per_shard=None, tokenizer=dct), Processes()).settings
    assert large.samples_per_shard == replace(large, samples_per_shard=None).samples_per_shard < 400


def test_label_maps_follow_an_image_that_was_repaired_after_they_had_moved(
    pair_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    source = pair_folder(tmp_path / "ade", count=6, split="val")
    damaged = source / "images" / "val" / "1.png"
    content = damaged.read_bytes()
    damaged.write_text("no image")
    job = make_job(source, tmp_path / "store", split="val")
    tokenize(make_plan(job, Processes()), Processes(), lambda done, total: None, print)  # killed before the report
    damaged.write_bytes(content)
    strict = replace(job, skip_unreadable=False)
    assert run_job(strict).num_samples == 6
    run_job(replace(strict, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


def test_process_that_sees_other_images_ends_the_run(
    class_folder: Callable, make_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    plan = make_plan(job, Processes())
    commit.begin(plan)
    (tmp_path / "images" / "ant" / "0.png").unlink()
    second = Processes(rank=1, world_size=2)
    monkeypatch.setattr(Processes, "wait", lambda self: None)
    monkeypatch.setattr(Processes, "share", lambda self, numbers: [1])
    with pytest.raises(ValueError, match=r"its source\.num_images is 8, this run's is 7"):
        tokenize(make_plan(job, second), second, lambda done, total: None, print)
