"""The tool that compares runs by bytes and score, on a run that was trained and on written ones."""

import csv
import json

import pytest

from helpers.tools import tool_main
from helpers.work_folder import classifier_config, tokens_in, write_run

TOOL = tool_main("analysis_tools/storage_accuracy.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, options, score in (("whole", {}, 80.0), ("part", {"subset": {"count": 5}}, 70.0)):
        dataset = tokens_in(folder / "data", **options)
        write_run(folder / "work_dirs" / name, classifier_config(dataset), [0.0, score])
    return folder / "work_dirs"


def test_trained_run_is_measured(tiny, tool, finetune_leaf, tmp_path, capsys):
    tool("train.py", tiny(finetune_leaf, epochs=1), "--fraction", "0.5")
    (folder,) = tmp_path.glob("work_dir*")
    capsys.readouterr()
    assert TOOL([folder, "--out", tmp_path / "rows.json"]) == 0
    printed = capsys.readouterr().out
    assert "SeiT++" in printed and "last validation, epoch 1, " in printed and "front" in printed
    (run,) = json.loads((tmp_path / "rows.json").read_text())["runs"]
    assert (run["images"], run["bytes_computed"], run["method"]) == (2, True, "SeiT++")
    assert "unfinished" not in run["notes"]


def test_all_kinds_of_files_are_written(runs, tmp_path, capsys):
    files = [tmp_path / f"out.{ending}" for ending in ("csv", "md", "json", "svg")]
    assert TOOL([runs, "--paper", "--reference", "5000", "--label", "whole=all images", "--out", *files]) == 0
    assert all(file.stat().st_size for file in files)
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [(row["run"], row["images"], row["top1"], row["front"]) for row in rows] == [
        ("whole", "10", "80.0", "True"),
        ("part", "5", "70.0", "True"),
    ]
    text = files[1].read_text()
    assert "| all images | SeiT | 10 |" in text and "| part | SeiT | 5 |" in text and " kB * |" in text
    assert "| JPEG quality 5 | 11 GB | 8 % | 74.6 |" in text and "- share: of 5 kB (5000 bytes)" in text
    assert "JPEG quality 5" in capsys.readouterr().out
    assert json.loads(files[2].read_text())["paper"][0]["top-1"] == "81.8"


def test_reference_may_be_a_folder(runs, capsys):
    assert TOOL([runs / "part", "--reference", runs.parent / "data" / "train"]) == 0
    shown = capsys.readouterr().out
    whole = sum(path.stat().st_size for path in (runs.parent / "data" / "train").iterdir())
    assert f"share: of {whole / 1000:.3g} kB" in shown and "100 %" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], "expected a name that ends in .png"),
        (["--group", "("], "is no regular expression"),
        (["--label", "whole"], "expected two texts with = between them"),
        (["--label", "who=x"], "there is no run or group 'who', only whole, part"),
        (["--reference", "none"], "expected bytes, or a folder"),
        (["--key", "accuracy/top9"], "accuracy/top9 was never logged"),
    ],
)
def test_wrong_arguments_are_refused(runs, capsys, arguments, message):
    try:
        assert TOOL([runs, *arguments]) == 1
    except SystemExit as end:
        assert end.code == 2
    assert message in capsys.readouterr().err
