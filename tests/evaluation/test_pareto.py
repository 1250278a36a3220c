"""The Pareto front, on cases made by hand and against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seitpp.evaluation.pareto import pareto_front

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("costs", "scores", "front"),
    [
        ([], [], []),
        ([5], [1], [True]),
        ([1, 2, 3], [1, 2, 3], [True, True, True]),
        ([1, 2, 3], [3, 2, 1], [True, False, False]),
        ([1, 2], [3, 3], [True, False]),  # as good with more
        ([2, 2], [3, 4], [False, True]),  # better with as much
        ([2, 2, 3], [4, 4, 4], [True, True, False]),  # alike in both: both
        ([1, 2, 2, 3], [1, 1, 2, 2], [True, False, True, False]),
        ([1, 2, 3], [NAN, 2, INF], [False, True, False]),
        ([NAN, INF, 3], [9, 9, 1], [False, False, True]),
    ],
)
def test_front_of_cases_made_by_hand(costs, scores, front):
    assert pareto_front(costs, scores).tolist() == front


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_front_is_what_no_other_beats(points):
    expected = [not any(d <= c and t >= s and (d, t) != (c, s) for d, t in points) for c, s in points]
    costs, scores = [c for c, _ in points], [s for _, s in points]
    assert pareto_front(costs, scores).tolist() == expected


def test_numbers_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="expected one of each per point"):
        pareto_front([1, 2], np.zeros(3))
