"""Running steps: logs, what is left out, what fails."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from seitpp.workflow import Plan, Request, Step, StepFailed, run_steps
from seitpp.workflow.setup import Lengths
from seitpp.workflow.steps import is_done, progress_line


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan whose one command adds a line to a file."""
    output = tmp_path / "made.txt"
    code = f"print('at work'); open({str(output)!r}, 'a').write('once\\n')"
    step = Step("make", "make a file", ["python", "-S", "-c", code], str(output), 1.0)
    return Plan(str(tmp_path), Request("images"), [], {}, Lengths(), [step], {}, [])


def test_a_step_that_has_run_is_left_out(plan: Plan, tmp_path: Path) -> None:
    console = Console(quiet=True)
    assert run_steps(plan, console) == run_steps(plan, console)
    assert (tmp_path / "made.txt").read_text() == "once\n"
    assert "at work" in (tmp_path / "logs" / "1-make.log").read_text()


def test_a_step_whose_output_is_gone_runs_again(plan: Plan, tmp_path: Path) -> None:
    run_steps(plan, Console(quiet=True))
    (tmp_path / "made.txt").unlink()
    assert not is_done(plan.steps[0], {"make": 1.0})
    run_steps(plan, Console(quiet=True))
    assert (tmp_path / "made.txt").read_text() == "once\n"


def test_what_follows_a_step_that_runs_again_runs_again(plan: Plan, tmp_path: Path) -> None:
    later = replace(plan.steps[0], name="later", output=str(tmp_path / "later.txt"))
    later = replace(later, command=[*later.command[:-1], later.command[-1].replace("made.txt", "later.txt")])
    plan = replace(plan, steps=[plan.steps[0], later])
    run_steps(plan, Console(quiet=True))
    (tmp_path / "made.txt").unlink()
    run_steps(plan, Console(quiet=True))
    assert (tmp_path / "later.txt").read_text() == "once\n" * 2


def test_a_checkpoint_that_was_not_written_to_its_end_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "epoch_1.pth").write_bytes(b"PK")
    assert not is_done(Step("train", "", [], str(tmp_path / "epoch_1.pth"), 1.0), {"train": 1.0})


def test_a_failing_command_is_named_with_its_last_line(plan: Plan) -> None:
    failing = replace(plan.steps[0], command=["python", "-S", "-c", "raise SystemExit('no luck')"])
    with pytest.raises(StepFailed, match=r"python -S failed: no luck \(its output is in .*1-make.log\)"):
        run_steps(replace(plan, steps=[failing]), Console(quiet=True))


@pytest.mark.parametrize(
    ("mode", "text", "shown"),
    [
        ("train", "[2][22/22]  lr: 1.0e-03  eta: 0:00:20  time: 0.1  loss: 1.25", "epoch 2: loss 1.25, 0:00:20 left"),
        ("train", " [12/32]  eta: 0:00:59  loss: 2.1  decode.loss_ce: 1.5", "iteration 12: loss 2.1, 0:00:59 left"),
        (
            "val",
            "[2][2/2]    accuracy/top1: 38.9  accuracy/top1_origin: 3.0  time: 0.1",
            "validation: accuracy/top1 38.9",
        ),
        ("val", "[ 50/100]    eta: 0:00:01  time: 0.1  data_time: 0.01  memory: 8", ""),
    ],
)
def test_log_lines_are_shown_in_short(mode: str, text: str, shown: str) -> None:
    assert progress_line(mode, text) == shown
