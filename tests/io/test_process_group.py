"""Process groups end with the work that started them, also after an error, and no process waits for a dead one."""

import gc
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from seitpp.io import process_group
from seitpp.io.process_group import process_group_ended


def free_port() -> str:
    with socket.create_server(("localhost", 0)) as server:
        return str(server.getsockname()[1])


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a launcher tells the one process that it starts."""
    group = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    for name, value in {**group, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # torch puts its own around it
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def start_group() -> None:
    dist.init_process_group("gloo")


def test_group_ends_with_the_block(alone: None) -> None:
    with process_group_ended():
        start_group()
    assert not dist.is_initialized()


def test_group_ends_after_an_error(alone: None) -> None:
    with pytest.raises(ValueError, match="of the block"), process_group_ended():
        start_group()
        raise ValueError("of the block")
    assert not dist.is_initialized()


def test_group_of_somebody_else_stays(alone: None) -> None:
    start_group()
    with process_group_ended():
        pass
    assert dist.is_initialized()


def test_error_without_a_group_keeps_what_a_debugger_shows() -> None:
    def fail() -> None:
        value = 3
        raise ValueError(value)

    with pytest.raises(ValueError, match="3") as raised, process_group_ended():
        fail()
    assert raised.traceback[-1].locals["value"] == 3


def fail_alone(rank: int) -> None:
    if rank == 1:
        raise ValueError("of one process")


def fail_during_an_operation(rank: int) -> None:
    if rank == 1:
        dist.all_reduce(torch.ones(1), async_op=True)
        raise ValueError("of one process")
    dist.barrier()  # takes no part in that


def child(work: Callable[[int], None], rank: int, port: str, told: Connection) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=port)
    process_group._PATIENCE_SECONDS = 1
    try:
        with process_group_ended():
            start_group()
            work(rank)
    except Exception as error:
        told.send((type(error).__name__, str(error)))
    else:
        told.send(None)
    os._exit(0)


@pytest.mark.parametrize("work", [fail_alone, fail_during_an_operation])
@pytest.mark.slow
def test_no_process_hangs_when_another_one_fails(work: Callable[[int], None]) -> None:
    context, port = multiprocessing.get_context("fork"), free_port()
    ends = [context.Pipe(duplex=False) for _ in range(2)]
    children = [context.Process(target=child, args=(work, rank, port, ends[rank][1])) for rank in range(2)]
    for one in children:
        one.start()
    for one in children:
        one.join(30)
    assert [one.exitcode for one in children] == [0, 0]
    waiting, failing = (end.recv() for end, _ in ends)
    assert failing == ("ValueError", "of one process")
    if work is fail_alone:
        assert waiting == ("ConnectionError", "another process of this run has ended before; its own message says why")
    else:
        assert waiting[0] == "RuntimeError"


class TestTools:
    """In one process that a launcher started, so that the model is wrapped for DDP, which holds the group."""

    @pytest.fixture
    def referring(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many wrapped models there were whenever a group ended."""
        counts, destroy = [], dist.destroy_process_group

        def counting() -> None:
            counts.append(sum(issubclass(type(one), DistributedDataParallel) for one in gc.get_objects()))
            destroy()

        monkeypatch.setattr(dist, "destroy_process_group", counting)
        return counts

    def test_training_and_testing_end_it(
        self, alone: None, referring: list[int], tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path
    ) -> None:
        config = tiny(mtm_leaf, num_samples=2, epochs=1)
        tool("train.py", config, "--launcher", "pytorch", "--work-dir", tmp_path / "run")
        assert not dist.is_initialized()
        tool("test.py", config, tmp_path / "run" / "epoch_1.pth", "--launcher", "pytorch", "--work-dir", tmp_path)
        assert not dist.is_initialized()
        assert referring == [0, 0]

    def test_an_error_in_training_ends_it(
        self, alone: None, referring: list[int], tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path
    ) -> None:
        config = tiny(mtm_leaf, num_samples=2, epochs=1)
        (tmp_path / "other.pth").write_bytes(b"no checkpoint")
        line = [config, "--launcher", "pytorch", "--work-dir", tmp_path / "run", "--resume", tmp_path / "other.pth"]
        with pytest.raises(Exception, match=r"does not begin as a file of torch\.save does"):
            tool("train.py", *line)
        assert not dist.is_initialized()
        assert referring == [0]
