"""The study: which jobs it plans in which order, how rates are chosen, and what its tables say."""

import runpy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from helpers.tools import tool_main
from helpers.work_folder import classifier_config, write_run
from seitpp.benchmarking.study.digits import write_digits
from seitpp.benchmarking.study.jobs import DONE, Job
from seitpp.benchmarking.study.methods import (
    ADAPTS,
    CLAIM,
    DCT,
    ENCODERS,
    HEADLINE,
    KNN,
    LINEAR,
    METHODS,
    SETS,
    STEPS,
    TOKEN_ADAPT,
    TOKENIZERS,
    Size,
)
from seitpp.benchmarking.study.plan import UNTRAINED, Study
from seitpp.benchmarking.study.records import Run, read_records, write_records
from seitpp.benchmarking.study.steps import run_names, study_jobs
from seitpp.benchmarking.study.tables import filled, make_tables, write_page

SIZE = Size(((0.1, 2), (1.0, 1)), (1e-3, 4e-3), 20, 40, 30, 5, (50,), (1, 3))
FASHION = SETS["fashion-mnist"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(FASHION, SIZE, tmp_path / "images", tmp_path / "data", tmp_path / "out")


def name_of(study: Study, job: Job) -> str:
    return job.folder.relative_to(study.out / study.set.name).as_posix()


def the_job(study: Study, name: str) -> Job:
    (job,) = [job for job in study_jobs(study) if name_of(study, job) == name]
    return job


def rates_scored(study: Study) -> None:
    """Leave runs of all rates, of which 4e-3 is the best."""
    for job in study_jobs(study, ["rates", "dct"]):
        if job.folder.parent.name == "rates":
            write_run(job.folder, classifier_config({}), [60.0 + (job.folder.name.endswith("lr0.004"))])


def runs_of(names: Iterable[str], **values: object) -> dict[str, Run]:
    return {name: replace(Run(name), **values) for name in names}


@pytest.mark.parametrize("images", SETS.values(), ids=lambda one: one.name)
def test_planned_configs_are_there_with_the_iterations_they_are_named_after(images: object, repository: Path) -> None:
    trained = [one.config for one in (*(METHODS | ADAPTS | DCT).values(), *ENCODERS.values())]
    for name in (*trained, *TOKEN_ADAPT.values(), LINEAR, KNN, *TOKENIZERS.values()):
        config = Config.fromfile(repository / images.config(name))
        if name != KNN and name not in TOKENIZERS.values():
            iters = config.train_cfg.max_iters
            assert f"-{iters // 1000}k_" in name and config.param_scheduler["end"] == iters
    assert all(method.mtm is None or method.mtm in ENCODERS for method in METHODS.values())
    assert {one.rate_of for one in (ADAPTS | DCT).values()} - {None} <= METHODS.keys() | DCT.keys()
    assert set(HEADLINE) <= METHODS.keys()


def test_all_that_a_job_needs_is_planned_before_it(study: Study) -> None:
    jobs, seen = study_jobs(study), set()
    for job in jobs:
        assert set(job.needs) <= seen, job.folder
        assert job.folder not in seen
        seen.add(job.folder)
    names = run_names(study)
    assert {job.folder.relative_to(study.out).as_posix() for job in jobs} == set(names)
    study.data.mkdir()
    assert sorted(run_names(study)) == sorted(names)  # with the splits, which need not be made again


def test_what_the_study_is_about_comes_first_and_one_seed_before_the_next(study: Study) -> None:
    names = [name_of(study, job) for job in study_jobs(study)]
    scores = [name.split("/")[1] for name in names if name.startswith("scores/")]
    assert scores[: 2 * len(CLAIM)] == [f"{name}-10pct-seed{seed}" for seed in range(2) for name in CLAIM]
    assert sum("-100pct-" in name for name in scores) == len(METHODS)  # of one seed
    assert names.index("rates/codes-10pct-lr0.001") < names.index("encoders/mtm-100pct-seed0")
    assert names.index("encoders/mtm-10pct-seed0") < names.index("rates/pixels-10pct-lr0.001")


def test_steps_together_have_all_jobs_once(study: Study) -> None:
    parts = [job.folder for step in STEPS for job in study_jobs(study, [step])]
    assert sorted(parts) == sorted(job.folder for job in study_jobs(study))


def test_a_cell_trains_as_long_as_its_row_from_the_encoder_of_its_share_and_seed(study: Study) -> None:
    rates_scored(study)
    job = the_job(study, "scores/seitpp-mtm-10pct-seed1")
    train, test = job.commands()
    encoder = study.out / study.encoder_name("mtm", 0.1, 1)
    assert f"model.backbone.init_cfg.checkpoint={encoder}/iter_40.pth" in train and encoder in job.needs
    assert train[train.index("--fraction") + 1] == "0.1"
    assert train[train.index("--token-adapt") + 1] == f"{study.out}/fashion-mnist/tokenadapt/all-tokens/iter_30.pth"
    assert {"randomness.seed=1", "optim_wrapper.optimizer.lr=0.004"} <= set(train)
    assert str(job.folder / "iter_20.pth") in test
    trained = [job.commands()[0] for job in study_jobs(study, ["rates", "scores", "adapts", "images"])]
    trained = [one for one in trained if one[0] == "tools/train.py" and "tokenadapt/" not in one[4]]
    assert len(trained) > 30
    assert all({"train_cfg.max_iters=20", "param_scheduler.end=20"} <= set(one) for one in trained)


def test_first_seed_of_the_main_share_is_the_run_of_its_best_rate(study: Study) -> None:
    rates_scored(study)
    best = study.out / study.rate_name("seit", 0.1, 4e-3)
    (test,) = the_job(study, "scores/seit-10pct-seed0").commands()
    assert test[:4] == (
        "tools/test.py",
        f"{best}/{Path(FASHION.config(METHODS['seit'].config)).name}",
        f"{best}/iter_20.pth",
        "--work-dir",
    )
    (tried,) = the_job(study, "rates/seit-10pct-lr0.004").commands()
    (again, _) = the_job(study, "scores/seit-10pct-seed1").commands()
    folders = {str(best): "", str(study.out / study.score_name("seit", 0.1, 1)): ""}
    assert [folders.get(word, word) for word in tried] == [
        folders.get(word, word.replace("seed=1", "seed=0")) for word in again
    ]
    (robustness,) = the_job(study, "robustness/seit-10pct-seed0").commands()
    assert robustness[1:3] == test[1:3]


def test_table_a_and_dct_take_their_own_token_adapt(study: Study) -> None:
    rates_scored(study)
    few = the_job(study, "images/seitpp-50img-seed0")
    assert study.out / study.token_adapt_name(50) in few.needs
    assert f"{study.out}/fashion-mnist/tokenadapt/50img-tokens/iter_30.pth" in few.commands()[0]
    (trained,) = the_job(study, "tokenadapt/50img-tokens").commands()
    assert trained[trained.index("--images") + 1] == "50"
    dct = the_job(study, "scores/seitpp-dct-10pct-seed0")
    assert f"{study.out}/fashion-mnist/tokenadapt/all-dct/iter_30.pth" in dct.commands()[0]
    assert f"train_dataloader.dataset.data_root={study.data}-dct/" in dct.commands()[0]


def test_rates_are_scored_without_the_test_images(study: Study) -> None:
    jobs = study_jobs(study, ["rates"])
    assert len(jobs) == 2 * len(METHODS)  # at the main share alone
    assert not any("tools/test.py" in command for job in jobs for command in job.commands())
    more = replace(study, has_more_rates=True)
    assert len(study_jobs(more, ["rates"])) == 4 * len(METHODS)
    assert list(more.rate_names("seit", 0.6)) == [more.rate_name("seit", 1.0, rate) for rate in SIZE.rates]


def test_rate_is_the_best_on_held_out_images_and_of_equal_ones_the_smaller(study: Study) -> None:
    scores = {study.rate_name("seit", 0.1, 1e-3): 60.0, study.rate_name("seit", 0.1, 4e-3): 61.0}
    assert study.rate("seit", 1.0, scores.get) == study.rate("coloradapt", 0.1, scores.get) == 4e-3
    assert study.rate("seit", 1.0, dict.fromkeys(scores, 60.0).get) == 1e-3
    del scores[study.rate_name("seit", 0.1, 1e-3)]
    with pytest.raises(
        ValueError, match=r"^fashion-mnist/rates/seit-10pct-lr0.001: no score on the held-out images; run"
    ):
        study.rate("seit", 1.0, scores.get)


def test_tables_have_means_of_tests_and_say_what_was_not_run(study: Study) -> None:
    seeds = [study.score_name("seit", 0.1, seed) for seed in range(2)]
    runs = {name: Run(name, test=score) for name, score in zip(seeds, (70.0, 72.0), strict=True)}
    runs[seeds[0]] = replace(runs[seeds[0]], num_images=10, num_bytes=990, num_code_bytes=490)
    runs |= runs_of([study.score_name("pixels", 1.0, 0)], test=50.0)
    runs |= runs_of([study.rate_name("seit", 0.1, 1e-3)], validation=60.0)
    runs |= runs_of([study.rate_name("seit", 0.1, 4e-3)], validation=61.0)
    runs |= runs_of([study.token_adapt_name(50)], metrics={"token_adapt/accuracy": 33.0})
    runs |= runs_of(
        [study.robustness_name("seit")], metrics={"robustness/clean": 70.0, "robustness/gaussian_blur/3": 9}
    )
    runs |= runs_of([study.robustness_name("codes-overlap")], metrics={"robustness/gaussian_noise/1": 41.0})
    runs |= runs_of([study.probe_name("knn", UNTRAINED)], metrics={"test/k10_accuracy/top1": 44.0})
    runs |= runs_of([study.encoder_name("mtm", 0.1, 0)], metrics={"masked_code/accuracy": 51.0})
    tables = {name.removeprefix("fashion-mnist/"): table for name, table in make_tables(study, runs).items()}
    assert "| SeiT | not run | 71.0 +- 1.4 |" in tables["scores"]
    assert "| pixels | 50.0 (1 of 2 seeds) | not run |" in tables["scores"]
    assert "| tokens, 10 % | 10 | 990 | 99.0 | 49.0 |" in tables["storage"]
    assert "*not run*: pixels, 100 %; pixels, 10 %; tokens, 100 %" in tables["storage"]
    assert "| without TokenAdapt | 71.0 +- 1.4 | not run |" in tables["adapts"]
    assert "| 50 | 33.0 | not run |" in tables["images"] and "*not run*: all" in tables["images"]
    assert "| VQ | 99.0 | 71.0 +- 1.4 | not run |" in tables["dct"] and "*not run*: DCT" in tables["dct"]
    assert "| SeiT | 70.0 | not run | not run | not run | 9.0 |" in tables["robustness"]
    assert "| codes from scratch, SeiT's stem | not run | 41.0 |" in tables["robustness"]
    assert "| MTM of SeiT++, 10 % | 51.0 (1 of 2 seeds) | not run |" in tables["encoders"]
    assert "| random weights | 44.0 | not run |" in tables["probes"]
    assert "| SeiT, 10 % | 60.0 | **61.0** |" in tables["rates"]


def test_page_takes_tables_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: x/scores -->\nold\n<!-- end of table -->\nb\n")
    write_page(page, {"x/scores": "new\n"})
    assert page.read_text() == "a\n<!-- table: x/scores -->\n\nnew\n\n<!-- end of table -->\nb\n"
    with pytest.raises(ValueError, match=r"page.md has no place for the table x/storage"):
        write_page(page, {"x/storage": ""})


def test_page_is_what_the_committed_records_give(repository: Path) -> None:
    study = runpy.run_path(str(repository / "tools" / "study.py"))
    runs = read_records(repository / "docs" / "study_records.jsonl")
    text = (repository / "docs" / "study.md").read_text()
    for name in SETS:
        tables = make_tables(study["study_of"](name, study["parse_args"]([])), runs)
        assert filled(text, tables, "docs/study.md") == text, f"tools/study.py --tables-only would change {name}"


def test_tables_are_made_of_records_without_work_folders(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    name = "fashion-mnist/scores/seit-10pct-seed0"
    records, page = tmp_path / "runs.jsonl", tmp_path / "page.md"
    write_records(records, runs_of([name], test=71.0))
    command = ["--tables-only", "--set", "fashion-mnist", "--out", str(tmp_path / "out")]
    assert tool_main("study.py")([*command, "--records", str(records)]) == 0
    assert "| SeiT | not run | not run | not run | 71.0 (1 of 3 seeds) |" in capsys.readouterr().out
    done = tmp_path / "out" / name
    write_run(done, classifier_config({}), [], {"accuracy/top1": 72.0})
    (done / DONE).write_text("1\n")
    page.write_text("".join(f"<!-- table: fashion-mnist/{one} -->\n<!-- end of table -->\n" for one in TABLES))
    assert tool_main("study.py")([*command, "--records", str(records), "--page", str(page)]) == 0
    assert read_records(records)[name].test == 72.0 and "72.0 (1 of 3 seeds)" in page.read_text()


def test_tables_are_made_when_a_job_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise ChildProcessError("python x failed")

    monkeypatch.setattr("seitpp.benchmarking.study.jobs.run_jobs", fail)
    (tmp_path / "data").mkdir()
    assert tool_main("study.py")(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 1
    tables = (tmp_path / "out" / "fashion-mnist" / "tables.md").read_text()
    assert tables.startswith("## fashion-mnist/scores\n\n*not run*\n") and "## fashion-mnist/rates\n" in tables
    assert "python x failed" in capsys.readouterr().err


TABLES = ("scores", "storage", "adapts", "images", "dct", "robustness", "encoders", "probes", "rates")


def test_digits_are_written_once_as_classes_of_two_splits(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", 28, 1)
    files = sorted((tmp_path / "digits").rglob("*.png"))
    assert len(files) == 1797 and {path.parent.parent.name for path in files} == {"train", "val"}
    files[0].unlink()
    write_digits(tmp_path / "digits", 28, 1)
    assert not files[0].exists() and [path.name for path in tmp_path.iterdir()] == ["digits"]


@pytest.mark.slow
def test_whole_study_runs_and_goes_on_where_it_was_stopped(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for folder in ("tools", "configs"):
        (tmp_path / folder).symlink_to(repository / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    main = tool_main("study.py")
    assert main(["--size", "small"]) == 0
    out = tmp_path / "work_dirs" / "study-small" / "fashion-mnist"
    assert "not run" not in (out / "tables.md").read_text()
    figures = ("scores", "storage", "losses", "robustness", "method", "augmentations")
    assert {path.name for path in out.glob("*.png")} == {f"study_fashion-mnist_{what}.png" for what in figures}
    (out / "scores" / "seit-50pct-seed0" / DONE).unlink()
    capsys.readouterr()
    assert main(["--size", "small"]) == 0
    assert "1 run now, " in capsys.readouterr().out
