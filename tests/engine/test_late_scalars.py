"""Numbers for the log that wait on the device: read when asked for, kept and copied as mmengine's own."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from seitpp.engine import late_scalars
from seitpp.engine.late_scalars import LateHistory, log_scalar


@pytest.fixture
def hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MessageHub]:
    monkeypatch.setattr(late_scalars, "is_cheap_to_read", lambda value: False)
    yield MessageHub.get_instance(request.node.name)


def test_histories_are_those_of_numbers_that_are_read_at_once(hub: MessageHub) -> None:
    other = MessageHub.get_instance(hub.instance_name + "-plain")
    for number in range(7):
        value = torch.rand(1 if number % 2 else ())
        log_scalar(hub, "train/loss", value)
        other.update_scalar("train/loss", value)
        if number == 3:
            assert hub.get_scalar("train/loss").mean(2) == other.get_scalar("train/loss").mean(2)
    late, plain = hub.get_scalar("train/loss"), other.get_scalar("train/loss")
    assert len(late._waiting) == 3
    for one, two in zip(late.data, plain.data, strict=True):
        assert one.dtype == two.dtype and np.array_equal(one, two)
    assert late.statistics("current") == plain.current() and late._waiting == []


def test_a_copy_as_in_a_checkpoint_is_plain_and_goes_on(hub: MessageHub) -> None:
    log_scalar(hub, "train/loss", torch.tensor(1.0))
    kept = hub.state_dict()["log_scalars"]["train/loss"]
    assert type(kept) is HistoryBuffer and kept.data[0].tolist() == [1.0]
    resumed = MessageHub.get_instance(hub.instance_name + "-resumed")
    resumed.load_state_dict(copy.deepcopy(hub.state_dict()))
    log_scalar(resumed, "train/loss", torch.tensor(2.0))
    resumed.update_scalar("train/loss", 3.0)
    assert resumed.get_scalar("train/loss").data[0].tolist() == [1.0, 2.0, 3.0]


def test_the_oldest_numbers_go_where_there_are_too_many() -> None:
    history = LateHistory(HistoryBuffer([1.0, 2.0], [1, 1], max_length=3))
    for number in (3.0, 4.0):
        history.append(torch.tensor(number))
    assert [values.tolist() for values in history.data] == [[2.0, 3.0, 4.0], [1, 1, 1]]


def test_few_numbers_wait_however_seldom_the_log_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_scalars, "_MOST_WAITING", 3)
    history = LateHistory(HistoryBuffer([], np.array([], int)))
    for number in range(7):
        history.append(torch.tensor(float(number)))
    assert len(history._waiting) == 1
    assert history.data[0].tolist() == list(range(7))
