"""Plans: what fits into the time, what is kept, what another request meets."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seitpp.workflow import Plan, Request, check_same_request, read_plan


def test_more_minutes_give_more_epochs_and_the_whole_fits(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    folder = write_pictures(tmp_path / "images", 80)
    short, long = (plan_of(folder, tmp_path / "out", method="mtm", minutes=minutes) for minutes in (2, 4))
    assert long.lengths.train > short.lengths.train > 1
    assert 60 < sum(step.seconds for step in short.steps) < 120


def test_a_plan_that_cannot_fit_says_so(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(write_pictures(tmp_path / "images"), tmp_path / "out", start_seconds=30.0, minutes=1)
    assert plan.lengths.train == 1
    assert "takes longer than the 1 minutes asked for" in plan.notes[-2]
    assert re.search(
        "1 minutes are enough for 1 epoch; a good model needs more: --minutes [345] allows", plan.notes[-1]
    )


def test_a_plan_is_read_as_it_was_saved(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    out = tmp_path / "out"
    plan = plan_of(write_pictures(tmp_path / "images"), out)
    assert read_plan(str(out)) is None  # lists alone are no plan
    plan.save()
    assert read_plan(str(out)) == plan
    check_same_request(plan, plan.request, str(out), "tools")


def test_another_request_in_the_same_folder_is_refused(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    out = tmp_path / "out"
    plan = plan_of(write_pictures(tmp_path / "images"), out)
    other = replace(plan.request, method="mtm", minutes=7.0)
    message = r"is the work folder of another run, with method 'seit', not 'mtm'; minutes 5.0, not 7.0\. Name another"
    with pytest.raises(ValueError, match=message):
        check_same_request(plan, other, str(out), "tools")


def test_other_images_in_the_same_folder_are_refused(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(write_pictures(tmp_path / "images"), tmp_path / "out")
    (tmp_path / "images" / "ant" / "0.png").rename(tmp_path / "images" / "ant" / "new.png")
    with pytest.raises(ValueError, match=r"are not those that .* was begun with: some were added, removed or renamed"):
        check_same_request(plan, plan.request, str(tmp_path / "out"), "tools")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ValueError, match=r"plan.json is damaged .* name another folder, or remove"):
        read_plan(str(tmp_path))


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis\.doc and no plan\.json"):
        read_plan(str(tmp_path))


def test_a_work_folder_among_the_images_is_refused(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    with pytest.raises(ValueError, match=r"lies inside .*, where images are looked for"):
        plan_of(write_pictures(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "tinny"}, r"--model is 'tinny', expected one of tiny, small, base; did you mean tiny\?"),
        ({"method": "seit++"}, "--method is 'seit\\+\\+', expected one of seit, seitpp, mtm; did you mean"),
        ({"minutes": 0}, "--minutes is 0, expected a positive number of minutes"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Request("images", **options)


def test_the_overview_has_every_command_in_a_line_of_its_own(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(write_pictures(tmp_path / "images"), tmp_path / "out")
    lines = [line.strip() for line in plan.overview().splitlines()]
    assert [line for line in lines if line.startswith("$ ")] == [f"$ {step.line}" for step in plan.steps]
