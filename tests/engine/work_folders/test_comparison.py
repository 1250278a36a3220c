"""Runs of classifiers in work folders side by side: which are found, what they were, and what is said of the others."""

import os
import re

import pytest
import torch

from helpers.work_folder import START, classifier_config, tokens_in, write_run
from seitpp.engine.work_folders import DataPlaces, compare_runs, find_work_folders


def compare(*places, **options):
    return compare_runs(find_work_folders(places), DataPlaces(), **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def config(data):
    return classifier_config(tokens_in(data))


def test_work_folders_are_found_once_at_any_depth(tmp_path, config):
    deep = write_run(tmp_path / "a" / "b" / "deep", config, [1.0])
    inner = write_run(deep / "inner", config, [1.0])
    (tmp_path / "a" / "old").mkdir()
    (tmp_path / "a" / "old" / "last_checkpoint").write_text("epoch_1.pth")
    os.symlink(tmp_path / "a", tmp_path / "a" / "loop")
    write_run(tmp_path / ".trash", config, [1.0])
    expected = [deep, inner, tmp_path / "a" / "old"]
    assert find_work_folders([tmp_path, deep, deep / START.format(0)]) == expected


@pytest.mark.parametrize(
    ("name", "message"), [("none", "does not exist"), ("file", "is a file"), ("empty", "holds no")]
)
def test_places_without_runs_are_refused(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_work_folders([tmp_path / name])


def test_score_of_the_test_counts_before_that_of_a_validation(tmp_path, config):
    hooks = [{"type": "seitpp.StepEMAHook", "evaluate_on_ema": True}]
    write_run(tmp_path / "runs" / "tested", config, [50.0, 60.0], {"accuracy/top1": 61.5, "accuracy/top1_origin": 59.0})
    write_run(tmp_path / "runs" / "validated", {**config, "custom_hooks": hooks}, [70.0, 62.5])
    found = {entry.name: entry.runs[0].score for entry in compare(tmp_path / "runs").entries}
    assert (found["tested"].value, found["tested"].raw, found["tested"].described) == (
        61.5,
        59.0,
        "test, average weights",
    )
    assert (found["validated"].value, found["validated"].described) == (
        62.5,
        "last validation, epoch 2, average weights",
    )
    found = {entry.name: entry.runs[0].score for entry in compare(tmp_path / "runs", validation="best").entries}
    assert (found["validated"].value, found["validated"].source) == (70.0, "best validation, epoch 1")
    assert found["tested"].value == 61.5


def test_accuracy_of_training_is_no_score(tmp_path, config):
    folder = write_run(tmp_path / "run", config, [50.0, 60.0])
    log = folder / START.format(0) / "vis_data" / "scalars.json"
    log.write_text(log.read_text().replace('"loss"', '"accuracy/top1": 99.0, "loss"'))
    assert compare(folder).entries[0].score == 60.0


def test_what_is_missing_is_told_and_nothing_is_dropped(tmp_path, config):
    runs = tmp_path / "runs"
    gone = classifier_config({"type": "seitpp.TokenDataset", "store": str(tmp_path / "gone")})
    write_run(runs / "good", config, [50.0, 60.0])
    write_run(runs / "unscored", config, [50.0, 60.0], key="other")
    write_run(runs / "diverged", config, [50.0, float("nan")])
    write_run(runs / "stopped", config, [40.0])
    write_run(runs / "gone", gone, [50.0, 60.0])
    write_run(runs / "metrics", config, [50.0, 55.0]).joinpath("metrics.json").write_text('{"accuracy/top1": NaN}')
    damaged = write_run(runs / "damaged", config, [1.0, 2.0], {"accuracy/top1": 3.0})
    damaged.joinpath(START.format(0), "vis_data", "scalars.json").write_text("{\nno\n{}\n")
    (damaged / "epoch_2.pth").write_text("")
    write_run(runs / "hostile", None, [1.0])
    (runs / "hostile" / START.format(0) / "vis_data" / "config.py").write_text("a = __import__('os').getcwd()")
    write_run(runs / "mtm", {**config, "model": {"type": "seitpp.MTM"}}, [1.0])
    write_run(runs / "tests", config, metrics={"accuracy/top1": 99.0})
    found = compare(runs)
    notes = {entry.name: " ".join(entry.runs[0].notes) for entry in found.entries}
    scores = {entry.name: entry.score for entry in found.entries}
    assert notes["good"] == ""
    assert scores["unscored"] is None and "accuracy/top1 was never logged" in notes["unscored"]
    assert scores["diverged"] is None and "last validation is nan, expected a number from 0 to 100" in notes["diverged"]
    assert scores["stopped"] == 40.0 and notes["stopped"] == "unfinished: epoch 1 of 2 is its last"
    assert found.entries[-1].name == "gone" and found.entries[-1].num_bytes is None
    assert "gone does not exist; if it was moved, say so with --moved OLD=NEW, or with --data-root" in notes["gone"]
    assert scores["metrics"] == 55.0 and "NaN is not a JSON number" in notes["metrics"]
    assert (
        scores["damaged"] == 3.0 and "is no line of a log" in notes["damaged"] and "unfinished" not in notes["damaged"]
    )
    said = "\n".join(found.skipped)
    assert re.search(r"hostile: config .* line 1 has '\('", said)
    assert "mtm: the run of MTM, not of a classifier" in said and "tests: nothing was trained in it" in said
    assert len(found.entries) + len(found.skipped) == 10


def test_values_of_a_foreign_config_and_log_are_only_looked_at(tmp_path, config):
    odd = {
        "train_cfg": {"max_epochs": 2},
        "custom_hooks": "x",
        "work_dir": 9,
        "load_from": {"a": 1},
        "data_preprocessor": {"augments": [[{"type": "TokenAdaptAugment", "checkpoint": "\x1b[31m/dev/zero"}]]},
        "model": {"head": 3, "backbone": [{"init_cfg": {"type": "Pretrained", "checkpoint": 7}}]},
    }
    folder = write_run(tmp_path / "run", {**config, **odd}, [1.0, 2.0])
    log = folder / START.format(0) / "vis_data" / "scalars.json"
    log.write_text(log.read_text() + '{"loss": NaN, "epoch": 1e999, "iter": 7}\n{"val/x": 1, "step": 1e999}\n')
    (run,) = compare(folder).entries[0].runs
    assert run.notes[-1] == "needs TokenAdapt's weights beside its data: ?[31m/dev/zero (not there any more)"
    assert run.score.value == 2.0


def test_nothing_usable_is_an_error_with_the_reasons(tmp_path, config):
    write_run(tmp_path / "runs" / "unscored", config)
    (tmp_path / "runs" / "unscored" / "epoch_1.pth").write_text("")
    write_run(tmp_path / "runs" / "empty", None)
    with pytest.raises(ValueError, match=r"none of 2 work folders .*empty has no config.*unscored: .*no score"):
        compare(tmp_path / "runs")


def test_methods_are_told_by_augmentation_and_start(tmp_path, config):
    def with_start(checkpoint):
        model = {**config["model"], "backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": checkpoint}}}
        return {**config, "model": model}

    torch.save({"meta": {"cfg": "model = dict(type='seitpp.MTM')"}}, tmp_path / "encoder.pth")
    torch.save({"meta": {"cfg": "model = dict(head=dict())"}}, tmp_path / "mtm.pth")
    adapt = {"type": "seitpp.TokenAdaptAugment", "checkpoint": str(tmp_path / "mtm.pth")}
    augments = [{"type": "seitpp.SplitBatch", "first": [], "second": [adapt]}]
    runs = {
        "seit": config,
        "seitpp": {**config, "data_preprocessor": {"augments": augments}},
        "read": with_start(str(tmp_path / "encoder.pth")),
        "other": with_start(str(tmp_path / "mtm.pth")),
        "named": with_start("work_dirs/mtm_vit/epoch_9.pth"),
        "loaded": {**config, "load_from": str(tmp_path / "encoder.pth")},
        "resumed": {**config, "load_from": str(tmp_path / "encoder.pth"), "resume": True},
    }
    for name, one in runs.items():
        write_run(tmp_path / "runs" / name, one, [1.0, 2.0])
    found = {entry.name: entry.runs[0] for entry in compare(tmp_path / "runs").entries}
    assert {name: run.method for name, run in found.items()} == {
        **{"seit": "SeiT", "seitpp": "SeiT++", "read": "SeiT w/ MTM", "other": "SeiT", "named": "SeiT w/ MTM"},
        **{"loaded": "SeiT w/ MTM", "resumed": "SeiT"},
    }
    assert "needs TokenAdapt's weights beside its data" in found["seitpp"].notes[0] and "kB" in found["seitpp"].notes[0]
    assert found["other"].notes == (f"starts from {tmp_path / 'mtm.pth'}, whose training data are not counted",)


def test_config_of_training_counts_and_not_that_of_a_later_test(tmp_path, config):
    folder = write_run(tmp_path / "run", config, [1.0, 2.0])
    later = {**config, "train_dataloader": None}
    (folder / "recipe.py").write_text("".join(f"{name} = {value!r}\n" for name, value in later.items()))
    assert compare(folder).entries[0].num_images == 10


def test_config_of_a_checkpoint_serves_where_there_is_no_other(tmp_path, config):
    folder = write_run(tmp_path / "run", None, [1.0, 2.0])
    text = "".join(f"{name} = {value!r}\n" for name, value in config.items())
    torch.save({"meta": {"cfg": text}, "state_dict": {}}, folder / "epoch_2.pth")
    assert compare(folder).entries[0].score == 2.0


def test_seeds_become_one_row_with_mean_and_deviation(tmp_path, data, config):
    for seed, score in enumerate((60.0, 62.0, 64.0)):
        write_run(tmp_path / "runs" / f"seit-seed{seed}", config, [0.0, score])
    found = compare(tmp_path / "runs", group=re.compile("-seed[0-9]+"))
    (row,) = found.entries
    assert (row.name, row.score, row.spread, row.is_front) == ("seit", 62.0, 2.0, True)
    part = classifier_config(tokens_in(data, subset={"count": 5}))
    write_run(tmp_path / "runs" / "seit-seed9", part, [0.0, 9.0])
    with pytest.raises(ValueError, match="not alike: SeiT on 10 images, SeiT on 5 images"):
        compare(tmp_path / "runs", group=re.compile("-seed[0-9]+"))


def test_rows_are_sorted_by_bytes_with_the_front_marked(tmp_path, data, config):
    part = classifier_config(tokens_in(data, subset={"count": 5}))
    for name, one, score in (("a", config, 80.0), ("b", config, 70.0), ("c", part, 75.0), ("d", part, 75.0)):
        write_run(tmp_path / name / "seit", one, [0.0, score])
    found = compare(*(tmp_path / name for name in "abcd"))
    assert [entry.name for entry in found.entries] == ["a/seit", "b/seit", "c/seit", "d/seit"]
    assert [entry.is_front for entry in found.entries] == [True, False, True, True]
    with pytest.raises(ValueError, match="no run or group 'x'"):
        found.renamed({"x": "y"})
    with pytest.raises(ValueError, match="two rows would have the same name"):
        found.renamed({"a/seit": "b/seit"})
