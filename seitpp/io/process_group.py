"""Ends what `torch.distributed` started: a process group that outlives its interpreter aborts the process."""

import gc
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

_PATIENCE_SECONDS = 10  # for operations under way that another process, being gone, never joins


@contextmanager
def process_group_ended() -> Iterator[None]:
    """End the process group that the block starts, if it starts one.

    The threads of gloo take Python's lock; one that does so while the interpreter goes away ends the process with
    SIGABRT, after all work was done. They end when nothing refers to the group any more, as a model wrapped for DDP
    does: keep the runner in a function that the block calls. After an error no process waits for the others, which may
    never come.

    Raises:
        ConnectionError: Another process of the run ended before this one was done.
    """
    if _is_started():  # somebody else's
        yield
        return
    try:
        yield
        if _is_started():
            _wait_for_the_others()
    except BaseException as error:
        if _is_started():
            _end_after(error)
        raise
    if _is_started():
        gc.collect()
        dist.destroy_process_group()


def _is_started() -> bool:
    return dist.is_available() and dist.is_initialized()


def _wait_for_the_others() -> None:
    on_gpu = {"device_ids": [torch.cuda.current_device()]} if dist.get_backend() == "nccl" else {}
    try:
        dist.barrier(**on_gpu)
    except RuntimeError as error:
        raise ConnectionError("another process of this run has ended before; its own message says why") from error


def _end_after(error: BaseException | None) -> None:
    while error is not None:  # one of the local variables on its way is the runner
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    if dist.get_backend() == "gloo":  # NCCL's threads know nothing of Python, and ending it may wait for ever
        ending = threading.Thread(target=dist.destroy_process_group, daemon=True)
        ending.start()
        ending.join(_PATIENCE_SECONDS)
