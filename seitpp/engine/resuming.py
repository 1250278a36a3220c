"""What a checkpoint must hold so that a run can go on from it, looked at before mmengine takes it apart."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seitpp.io.untrusted import entry, shown, whole_number

_MOST = 2**63 - 1


def check_resumable(checkpoint: Mapping[str, Any], source: str) -> None:
    """Refuse progress, log histories and optimizer states that are not what a runner writes.

    Args:
        checkpoint: What the file holds.
        source: The file, for messages.

    Raises:
        ValueError: With the entry that is missing or of another kind.
    """
    source = f"checkpoint {source} is damaged or not of a run"
    meta = entry(checkpoint, "meta", dict, source)
    for key in ("epoch", "iter"):
        whole_number(meta.get(key), f"{source}: meta.{key}", 0, _MOST)
    hub = entry(checkpoint, "message_hub", dict, source)
    for key in ("log_scalars", "runtime_info", "resumed_keys"):
        entry(hub, key, dict, f"{source}: message_hub")
    optimizer = entry(checkpoint, "optimizer", dict, source)
    several = "param_groups" not in optimizer and "state" not in optimizer
    for state in optimizer.values() if several else [optimizer]:
        _check_optimizer_state(state, f"{source}: optimizer")
    schedules = checkpoint.get("param_schedulers")
    for schedule in _schedules(schedules):
        if not isinstance(schedule, dict):
            raise ValueError(f"{source}: param_schedulers holds {shown(schedule)}, expected dicts")


def _schedules(value: Any) -> list[Any]:
    """States of schedulers, which come as a list, or by the optimizer's name as lists; else what is there instead."""
    lists = list(value.values()) if isinstance(value, dict) else [value]
    return [one for found in lists for one in (found if isinstance(found, list) else [] if found is None else [found])]


def _check_optimizer_state(state: Any, source: str) -> None:
    groups = entry(state, "param_groups", list, source)
    for group in groups:
        params = entry(group, "params", list, f"{source}.param_groups")
        if any(type(one) is not int for one in params):
            raise ValueError(f"{source}.param_groups: params is {shown(params)}, expected numbers of parameters")
        entry(group, "lr", (int, float, Tensor), f"{source}.param_groups")
    moments = entry(state, "state", dict, source)
    for number, values in moments.items():
        if type(number) is not int or not isinstance(values, dict):
            raise ValueError(f"{source}.state has {shown(number)}: {shown(values)}, expected values of a parameter")
        if text := [name for name, value in values.items() if isinstance(value, str | bytes)]:
            raise ValueError(f"{source}.state.{number}: {text[0]} is {shown(values[text[0]])}, expected numbers")
    if any("step" in values for values in moments.values()):  # which optimizers keep it, they keep it for all
        for number, values in moments.items():
            step = entry(values, "step", (int, float, Tensor), f"{source}.state.{number}")
            if isinstance(step, Tensor) and step.numel() != 1:
                raise ValueError(f"{source}.state.{number}: step has shape {tuple(step.shape)}, expected one number")
