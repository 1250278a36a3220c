"""Tasks side by side: their order, and what an error ends."""

import threading
from functools import partial

import pytest

from seitpp.benchmarking.runs import run_in_order


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_tasks_run_after_those_they_need(workers: int) -> None:
    begun = []

    def task(name: str) -> str:
        begun.append(name)
        return name.upper()

    needs = {"a": (), "b": ("a",), "c": (), "d": ("b", "c")}
    found = run_in_order({name: (partial(task, name), need) for name, need in needs.items()}, workers)
    assert found == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert sorted(begun) == ["a", "b", "c", "d"]
    assert begun.index("a") < begun.index("b") < begun.index("d") > begun.index("c")


def test_as_many_tasks_as_workers_run_at_once() -> None:
    both = threading.Barrier(2, timeout=10)  # breaks unless two tasks meet here
    assert len(run_in_order({"a": (both.wait, ()), "b": (both.wait, ())}, workers=2)) == 2


def test_first_error_ends_what_has_not_begun() -> None:
    begun = []

    def fail() -> None:
        raise SystemExit("a failed")

    tasks = {"a": (fail, ()), "b": (partial(begun.append, "b"), ("a",)), "c": (partial(begun.append, "c"), ("b",))}
    with pytest.raises(SystemExit, match="a failed"):
        run_in_order(tasks, workers=1)
    assert "b" not in begun and "c" not in begun
