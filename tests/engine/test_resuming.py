"""What a checkpoint must hold to be resumed from: anything else is an error that names the file and the entry."""

import copy
from typing import Any

import pytest
import torch

from seitpp.engine.resuming import check_resumable

SOUND: dict[str, Any] = {
    "meta": {"epoch": 1, "iter": 7},
    "message_hub": {"log_scalars": {}, "runtime_info": {"iter": 7}, "resumed_keys": {}},
    "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "param_schedulers": [{"last_step": 7}],
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"param_schedulers": None},
        {"optimizer": {"generator": SOUND["optimizer"], "discriminator": SOUND["optimizer"]}},
        {"param_schedulers": {"generator": [{"last_step": 7}], "discriminator": []}},
    ],
)
def test_what_a_runner_writes_passes(changes: dict) -> None:
    check_resumable({**SOUND, **changes}, "epoch_1.pth")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("meta",), None, "meta is None, expected dict"),
        (("meta", "epoch"), "1", r"meta\.epoch is '1', expected an integer"),
        (("meta", "iter"), -1, r"meta\.iter is -1"),
        (("message_hub",), [], r"message_hub is \[\], expected dict"),
        (("message_hub", "resumed_keys"), None, "message_hub: resumed_keys is None, expected dict"),
        (("optimizer",), [1], r"optimizer is \[1\], expected dict"),
        (("optimizer", "param_groups"), {}, r"param_groups is \{\}, expected list"),
        (("optimizer", "param_groups", 0), 3, "params is missing, expected list"),
        (("optimizer", "param_groups", 0, "params"), [[]], r"params is \[\[\]\], expected numbers"),
        (("optimizer", "state"), float("nan"), "state is nan, expected dict"),
        (("optimizer", "state", 0), [1], r"state has 0: \[1\], expected values of a parameter"),
        (("optimizer", "param_groups", 0, "lr"), "0.1", "lr is '0.1', expected int or float or Tensor"),
        (("optimizer", "state", 0, "exp_avg"), "text", r"state\.0: exp_avg is 'text', expected numbers"),
        (("optimizer", "state", 1), {}, r"state\.1: step is missing, expected int or float or Tensor"),
        (("optimizer", "state", 0, "step"), torch.zeros(2), r"state\.0: step has shape \(2,\), expected one number"),
        (("param_schedulers", 0), 5, "param_schedulers holds 5, expected dicts"),
    ],
)
def test_anything_else_is_refused(path: tuple, value: object, message: str) -> None:
    checkpoint = copy.deepcopy(SOUND)
    container = checkpoint
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = value
    with pytest.raises(ValueError, match=f"checkpoint epoch_1.pth is damaged or not of a run.*{message}"):
        check_resumable(checkpoint, "epoch_1.pth")
