"""Runs of the study as lines of a file: what is read from a work folder, and what a file must be."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.work_folder import START, classifier_config, tokens_in, write_run
from seitpp.benchmarking.study.records import Run, find_runs, read_records, read_run, write_records

RUN = Run("set/scores/seit-10pct-seed0", ("python a b",), 71.5, None, {"masked_code/nll": 2.0}, 10, 99, 8, ((1, 0.5),))


def finished(folder: Path, *, is_done: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands.log").write_text("$ python tools/train.py x\nnoise\n$ python tools/train.py x\n")
    if is_done:
        (folder / "done").write_text("12\n")
    return folder


def test_run_has_scores_sizes_curve_and_commands_of_its_folder(tmp_path: Path) -> None:
    config = classifier_config(tokens_in(tmp_path / "tokens"))
    folder = finished(write_run(tmp_path / "run", config, [60.0] * 99 + [61.0], {"accuracy/top1": 62.0, "other": 1.0}))
    (folder / START.format(0) / "x.log").write_text("\n    PyTorch: 2.9.0+cpu\n")
    run = read_run(folder, "set/scores/run")
    assert (run.test, run.validation, run.metrics) == (62.0, 61.0, {"test/other": 1.0})
    assert run.commands == ("python tools/train.py x",) and run.seconds == 12 and run.torch == "2.9.0+cpu"
    assert run.num_images == 10 and run.num_code_bytes < run.num_bytes
    assert len(run.curve) == 50 and run.curve[0][1] == run.curve[-1][1] == 1.0


def test_a_test_of_another_run_has_the_numbers_of_its_training_wherever_the_folders_are_now(tmp_path: Path) -> None:
    names = {"tried": "set/rates/tried", "scored": "set/scores/scored"}
    config = classifier_config(tokens_in(tmp_path / "tokens"))
    out = tmp_path / "moved"
    finished(write_run(out / names["tried"], config, [60.0, 61.0], {"accuracy/top1": 1.0}))
    finished(write_run(out / names["scored"], None, [], {"accuracy/top1": 62.0}))
    tried = f"work_dirs/study/{names['tried']}"
    line = f"$ python tools/test.py {tried}/config.py {tried}/iter_2.pth --work-dir work_dirs/study/{names['scored']}\n"
    (out / names["scored"] / "commands.log").write_text(line)
    run = find_runs(out, names.values())[names["scored"]]
    assert (run.test, run.validation, run.num_images, len(run.curve), run.seconds) == (62.0, 61.0, 10, 2, 24)


def test_numbers_that_no_file_of_records_may_have_are_left_out(tmp_path: Path) -> None:
    folder = finished(write_run(tmp_path / "run", classifier_config(tokens_in(tmp_path / "tokens")), [60.0, 61.0]))
    log = next(folder.glob("*/vis_data/scalars.json"))
    log.write_text(
        log.read_text().replace('"loss": 1.0', '"loss": NaN', 1) + '{"masked_code/nll": Infinity, "step": 2}\n'
    )
    write_records(tmp_path / "runs.jsonl", {"run": read_run(folder, "run")})
    run = read_records(tmp_path / "runs.jsonl")["run"]
    assert run.validation == 61.0 and not run.metrics and run.curve == ((2.0, 1.0),)


def test_runs_without_an_end_are_left_out(tmp_path: Path) -> None:
    finished(tmp_path / "set" / "data" / "tokens")
    finished(tmp_path / "set" / "scores" / "a", is_done=False)
    names = ["set/data/tokens", "set/scores/a", "set/scores/b"]
    assert list(find_runs(tmp_path, names)) == ["set/data/tokens"]


def test_records_are_read_as_they_were_written_in_the_order_of_names(tmp_path: Path) -> None:
    runs = {"b": replace(RUN, name="b"), "a": replace(RUN, name="a", test=None)}
    write_records(tmp_path / "runs.jsonl", runs)
    assert list(read_records(tmp_path / "runs.jsonl").items()) == [("a", runs["a"]), ("b", runs["b"])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": "71"}, "line 1: test is '71', expected int or float"),
        ({"test": 171}, "line 1: test is 171, expected per cent, 0 to 100, or null"),
        ({"validation": float("nan")}, "line 1 is damaged or is not valid JSON .*NaN is not a JSON number"),
        ({"num_bytes": 0}, "line 1: num_bytes is 0, expected an integer in 1"),
        ({"num_images": None}, "line 1: num_images is null, expected a number beside num_bytes"),
        ({"num_code_bytes": 10**30}, "has more than 64 bits"),
        ({"metrics": {"a": None}}, "line 1: metrics: a is None, expected int or float"),
        ({"curve": [[1]]}, "expected pairs of numbers"),
        ({"more": 1}, "line 1: keys more are missing or unknown"),
        ({"commands": [1]}, "commands is 1, expected text"),
    ],
)
def test_damaged_records_are_refused_by_line_and_key(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "runs.jsonl"
    write_records(path, {"a": RUN})
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) + "\n")
    with pytest.raises(ValueError, match=message):
        read_records(path)


def test_records_with_a_run_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    write_records(path, {"a": RUN})
    path.write_text(path.read_text() * 2)
    with pytest.raises(ValueError, match="line 2: set/scores/seit-10pct-seed0 was there before"):
        read_records(path)
