"""Logged numbers that stay on the device until they are read, so that no step waits for the device."""

from typing import Any

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from torch import Tensor

from seitpp.registry import HOOKS

_MOST_WAITING = 1000  # numbers, each of which takes 512 bytes on a GPU


def is_cheap_to_read(value: Tensor) -> bool:
    """Return whether reading a number waits for no device."""
    return value.device.type == "cpu"


class LateHistory(HistoryBuffer):
    """A history whose last values may still be on the device, from where they are read all at once.

    Copies, as in checkpoints, are mmengine's plain histories.

    Args:
        before: The values recorded so far.
    """

    def __init__(self, before: HistoryBuffer) -> None:
        self._waiting: list[Tensor] = []
        super().__init__(*before.data, max_length=before.max_length)

    def append(self, value: Tensor) -> None:
        """Add a tensor of one number without reading it, unless very many wait already."""
        self._waiting.append(value.detach().reshape(()).float())
        if len(self._waiting) >= _MOST_WAITING:
            self._read()

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            values = torch.stack(waiting).tolist()
            self._values = np.append(self._values, values)[-self.max_length :]
            self._counts = np.append(self._counts, [1] * len(values))[-self.max_length :]

    @property
    def _log_history(self) -> np.ndarray:
        self._read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def __reduce_ex__(self, protocol: int) -> Any:
        return HistoryBuffer(*self.data, max_length=self.max_length).__reduce_ex__(protocol)


def log_scalar(hub: MessageHub, key: str, value: Any) -> None:
    """Log a number like `MessageHub.update_scalar`, without waiting for a device."""
    if not isinstance(value, Tensor) or is_cheap_to_read(value):
        hub.update_scalar(key, value)
        return
    history = hub.log_scalars.get(key)
    if not isinstance(history, LateHistory):
        history = LateHistory(HistoryBuffer([], np.array([], int)) if history is None else history)
        hub._set_resumed_keys(key, True)
        hub.log_scalars[key] = history
    history.append(value)


@HOOKS.register_module(name="RuntimeInfoHook")
class LateRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, which by itself reads each loss from the device at each iteration."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Record the losses, to be read with the log."""
        for name, value in (outputs or {}).items():
            log_scalar(runner.message_hub, f"train/{name}", value)
