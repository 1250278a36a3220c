"""Curves and times of runs from their logs, as the command line gives them."""

import csv
import json

import pytest

from helpers.tools import tool_main
from seitpp.visualization.curves import run_names

TOOL = tool_main("analysis_tools/analyze_logs.py")


def log_run(work_dir, losses, times):
    lines = [
        {"loss": loss, "time": time, "data_time": 0.01, "epoch": 1 + i // 2, "iter": 5 * i + 5, "step": 5 * i + 5}
        for i, (loss, time) in enumerate(zip(losses, times, strict=True))
    ]
    path = work_dir / "20260101_000000" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"loss": 2.5, "step": 2}]))
    return path


@pytest.fixture
def runs(tmp_path):
    for name in ("short", "long"):
        log_run(tmp_path / name, [4.0, 3.0, 2.0, 1.0], [9.0, 0.1, 9.0, 0.3])
    return [tmp_path / "short", tmp_path / "long"]


def test_curves_of_several_runs_become_a_picture_and_a_table(runs, tmp_path, capsys):
    picture, table = tmp_path / "curves.svg", tmp_path / "curves.csv"
    assert (
        TOOL(["plot_curve", *runs, "--keys", "loss", "--legend", "a-1", "a-2", "--group=-.", "--out", picture, table])
        == 0
    )
    assert "1 (2)" in capsys.readouterr().out and picture.read_text().count("<!-- a") == 1  # one entry of the legend
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["run"] for row in rows] == ["a-1"] * 5 + ["a-2"] * 5
    assert rows[4] == {"run": "a-1", "key": "val/loss", "unit": "epoch", "step": "2.0", "value": "2.5"}


def test_times_leave_the_warm_up_out(runs, capsys):
    assert TOOL(["cal_train_time", runs[0]]) == 0
    assert "200.0 ms" in (printed := capsys.readouterr().out)  # the mean of 0.1 and 0.3
    assert "100.0 ms (1)" in printed and "300.0 ms (2)" in printed and "5 %" in printed
    assert TOOL(["cal_train_time", runs[0], "--include-outliers"]) == 0
    assert "4600.0 ms" in capsys.readouterr().out


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    logs = [tmp_path / side / "seit" / "20260101_000000" / "vis_data" / "scalars.json" for side in ("a", "b")]
    assert run_names(logs) == ["a/seit", "b/seit"]
    assert run_names([tmp_path / "a" / "seit", tmp_path / "b" / "mtm"]) == ["seit", "mtm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keys", "los"], "did you mean loss"),
        (["--legend", "one"], "1 names, expected one for each of the 2 runs"),
        (["--group", "("], "'(' is no regular expression: missing )"),
        (["--out", "curves.txt"], "expected a name that ends in .png"),
    ],
)
def test_wrong_arguments_are_refused(runs, capsys, arguments, message):
    try:
        assert TOOL(["plot_curve", *runs, *arguments]) == 1
    except SystemExit as end:
        assert end.code == 2
    assert message in capsys.readouterr().err
