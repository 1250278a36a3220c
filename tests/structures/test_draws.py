"""Draws as data: chosen, joined, moved and named, whatever the augmentation; partners follow."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from seitpp.structures.draws import draws_to, join_draws, take_draws, tensors_of, with_tensors


@dataclass(frozen=True)
class Boxes:
    boxes: Tensor
    places: tuple[int, int]


@dataclass(frozen=True)
class Mixed:
    weight: Tensor
    partner: Tensor


def boxes(*rows: int) -> Boxes:
    return Boxes(torch.tensor([[row, row + 1] for row in rows]), (8, 8))


def mixed(*weights: float) -> Mixed:
    return Mixed(torch.tensor(weights), torch.arange(len(weights) - 1, -1, -1))


def test_tensors_are_found_and_plain_facts_are_not() -> None:
    assert list(tensors_of(boxes(1, 2))) == ["boxes"]
    assert list(tensors_of(mixed(0.5))) == ["weight", "partner"]


def test_with_tensors_keeps_plain_facts() -> None:
    changed = with_tensors(boxes(1), {"boxes": torch.zeros(3, 2)})
    assert isinstance(changed, Boxes)
    assert (len(changed.boxes), changed.places) == (3, (8, 8))


@pytest.mark.parametrize("names", [["weight"], ["weight", "partner", "boxes"], ["weight", "partners"]])
def test_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=f"draws of Mixed consist of weight, partner, got {', '.join(names)}"):
        with_tensors(mixed(0.5), {name: torch.zeros(1) for name in names})


def test_taken_rows_come_in_the_order_asked_for() -> None:
    assert take_draws(boxes(1, 2, 3), torch.tensor([2, 0, 2])).boxes[:, 0].tolist() == [3, 1, 3]


def test_taken_rows_are_a_batch_with_partners_of_its_own() -> None:
    taken = take_draws(mixed(0.1, 0.2, 0.3, 0.4), torch.tensor([3, 1, 0]))
    assert taken.weight.tolist() == pytest.approx([0.4, 0.2, 0.1])
    assert taken.partner.tolist() == [2, 1, 0]


def test_joined_batches_follow_each_other() -> None:
    joined = join_draws([boxes(1, 2), boxes(5)])
    assert joined.boxes[:, 0].tolist() == [1, 2, 5]
    assert joined.places == (8, 8)


def test_partners_stay_the_samples_that_they_were() -> None:
    joined = join_draws([mixed(0.1, 0.2), mixed(0.3), mixed(0.4, 0.5, 0.6)])
    assert joined.partner.tolist() == [1, 0, 2, 5, 4, 3]


def test_a_joined_part_is_the_part() -> None:
    first, second = mixed(0.1, 0.2), mixed(0.3, 0.4)
    back = take_draws(join_draws([first, second]), torch.tensor([2, 3]))
    assert torch.equal(back.weight, second.weight)
    assert torch.equal(back.partner, second.partner)


def test_all_tensors_are_moved() -> None:
    moved = draws_to(mixed(0.1, 0.2), torch.device("meta"))
    assert {value.device.type for value in tensors_of(moved).values()} == {"meta"}
