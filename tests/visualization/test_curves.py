"""Logged numbers of runs, read from their folders and drawn."""

import json

import pytest

from seitpp.visualization.curves import draw_curves, read_scalars, step_unit


def write_log(work_dir, run, lines, end=""):
    path = work_dir / run / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + end)


def trained(epoch, iteration, loss):
    return {"lr": 0.1, "loss": loss, "time": 0.5, "epoch": epoch, "iter": iteration, "step": iteration}


def scored(epoch, accuracy, **more):
    return {"accuracy/top1": accuracy, "time": 0.25, "step": epoch, **more}


def points(series):
    steps, values = series
    return list(zip(steps.tolist(), values.tolist(), strict=True))


@pytest.fixture
def work_dir(tmp_path):
    """A run of 10 iterations per epoch, logged at every 4th and scored after each epoch."""
    lines = [trained(1, 4, 3.0), trained(1, 8, 2.5), scored(1, 50.0), trained(2, 14, 2.0), trained(2, 18, 1.5)]
    write_log(tmp_path, "20260101_000000", [*lines, scored(2, 60.0, loss=1.75)])
    return tmp_path


def test_steps_of_a_run_by_epoch_are_epochs(work_dir):
    scalars = read_scalars(work_dir)
    assert points(scalars["loss"]) == [(0.4, 3.0), (0.8, 2.5), (1.4, 2.0), (1.8, 1.5)]
    assert points(scalars["accuracy/top1"]) == [(1.0, 50.0), (2.0, 60.0)]
    assert step_unit(scalars) == "epoch"


def test_numbers_of_validation_that_training_logs_too_are_kept_apart(work_dir):
    scalars = read_scalars(work_dir)
    assert points(scalars["val/loss"]) == [(2.0, 1.75)]
    assert set(scalars["time"][1]) == {0.5} and set(scalars["val/time"][1]) == {0.25}


def test_a_resumed_run_replaces_what_the_one_before_did_after_its_checkpoint(work_dir):
    write_log(work_dir, "20260102_000000", [trained(2, 14, 1.0), scored(2, 70.0)], end='{"loss": 0.')
    scalars = read_scalars(work_dir)
    assert points(scalars["loss"]) == [(0.4, 3.0), (0.8, 2.5), (1.4, 1.0)]
    assert points(scalars["accuracy/top1"]) == [(1.0, 50.0), (2.0, 70.0)]


def test_a_run_by_iteration_is_read_in_iterations(tmp_path):
    lines = [{"loss": 2.0, "iter": 50, "step": 50}, {"mIoU": 10.0, "step": 50}, {"loss": 1.0, "iter": 100, "step": 100}]
    # mmengine's defaults log a run by iteration's scores at the epoch.
    write_log(tmp_path, "20260101_000000", [*lines, {"mIoU": 20.0, "step": 2}])
    scalars = read_scalars(tmp_path)
    assert points(scalars["loss"]) == [(50.0, 2.0), (100.0, 1.0)]
    assert points(scalars["mIoU"]) == [(50.0, 10.0), (100.0, 20.0)]
    assert step_unit(scalars) == "iteration"


def test_a_log_is_read_by_itself_and_with_hierarchy(tmp_path):
    path = tmp_path / "scalars.json"
    path.write_text('{"train/loss": 2, "epoch": 1, "iter": 5, "step": 5}\n{"val/loss": 1.5, "step": 1}\n\0\0')
    scalars = read_scalars(path)
    assert points(scalars["loss"]) == [(1.0, 2.0)] and points(scalars["val/loss"]) == [(1.0, 1.5)]


def test_a_folder_without_scores_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no scores"):
        read_scalars(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_scalars(tmp_path / "nothing")
    write_log(tmp_path, "20260101_000000", [], end='{"lo')
    with pytest.raises(ValueError, match="log without a number"):
        read_scalars(tmp_path)


def test_damage_before_the_end_is_refused_with_its_line(tmp_path):
    path = tmp_path / "scalars.json"
    path.write_text('{"loss": 1, "iter": 1, "step": 1}\n[3]\n{"loss": 1, "iter": 2, "step": 2}\n')
    with pytest.raises(ValueError, match="line 2, is no line of a log"):
        read_scalars(path)


def test_a_panel_holds_training_and_validation_of_every_run(work_dir):
    scalars = read_scalars(work_dir)
    figure = draw_curves({"_first": scalars, "costs $5": scalars}, ["loss", "accuracy/top1"])
    losses, scores = figure.axes
    assert [line.get_linestyle() for line in losses.lines] == ["-", "--"] * 2 and len(scores.lines) == 2
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == [" _first", r"costs \$5", "validation"]


def test_runs_of_a_group_have_one_colour(work_dir):
    scalars, groups = read_scalars(work_dir), {"seit-0": "seit", "mtm-0": "mtm", "seit-1": "seit"}
    figure = draw_curves(dict.fromkeys(groups, scalars), ["accuracy/top1"], groups=groups)
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours[0] == colours[2] != colours[1]
    assert [text.get_text() for text in figure.legends[0].texts] == ["seit", "mtm"]


def test_runs_take_the_colours_that_are_given_and_others_the_usual_ones(work_dir):
    scalars = read_scalars(work_dir)
    (panel,) = draw_curves({"a": scalars, "b": scalars}, ["accuracy/top1"], colors={"a": "#0072B2", "c": "red"}).axes
    assert [line.get_color() for line in panel.lines] == ["#0072B2", "C1"]


def test_a_key_that_no_run_logged_is_refused_with_the_nearest(work_dir):
    with pytest.raises(ValueError, match="no run logged 'acuracy/top1'; did you mean accuracy/top1"):
        draw_curves({"run": read_scalars(work_dir)}, ["acuracy/top1"])
    with pytest.raises(ValueError, match="no run logged 'xyz'; logged are accuracy/top1, loss, lr"):
        draw_curves({"run": read_scalars(work_dir)}, ["xyz"])
