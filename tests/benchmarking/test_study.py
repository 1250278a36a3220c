"""The study: which commands it plans, which it leaves out, how rates are chosen, and what its tables say."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from helpers.tools import tool_main
from helpers.work_folder import classifier_config, tokens_in, write_run
from seitpp.benchmarking.study.jobs import Job, run_jobs
from seitpp.benchmarking.study.plan import ABLATION, ENCODERS, METHODS, Size, Study
from seitpp.benchmarking.study.tables import choose_rates, make_tables, write_page

SIZE = Size(2, (1.0, 0.6, 0.1), (1e-3, 4e-3), 20, 40, 30, 5)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(SIZE, tmp_path / "images", tmp_path / "data", tmp_path / "out")


def scored(folder: Path, dataset: dict, validation: float, test: float | None = None) -> None:
    metrics = None if test is None else {"accuracy/top1": test}
    write_run(folder, classifier_config(dataset), [validation], metrics)


def test_planned_configs_are_there_with_the_iterations_they_are_named_after(repository: Path) -> None:
    names = [method.config for method in (METHODS | ABLATION).values()]
    for name in (*names, *ENCODERS.values()):
        config = Config.fromfile(repository / "configs" / "study" / f"{name}.py")
        assert f"-{config.train_cfg.max_iters // 1000}k_" in name
    assert all(method.mtm is None or method.mtm in ENCODERS for method in METHODS.values())
    assert all(method.rate_of in METHODS for method in ABLATION.values())


def test_every_cell_trains_as_long_from_the_encoder_of_its_share_and_seed(study: Study) -> None:
    rates = {(name, fraction): 0.5 for name in METHODS for fraction in SIZE.fractions}
    jobs = study.score_jobs(rates)
    assert len({job.folder for job in jobs}) == len(jobs) == 2 * (3 * len(METHODS) + len(ABLATION))
    (job,) = [job for job in jobs if job.folder.name == "seitpp-mtm-10pct-seed1"]
    train, test = job.commands
    encoder = study.out / "encoders" / "mtm-10pct-seed1"
    assert f"model.backbone.init_cfg.checkpoint={encoder}/iter_40.pth" in train
    assert encoder in [job.folder for job in study.mtm_jobs()]
    assert train[train.index("--fraction") + 1] == "0.1"
    assert {"randomness.seed=1", "optim_wrapper.optimizer.lr=0.5"} <= set(train)
    assert str(job.folder / "iter_20.pth") in test
    assert all({"train_cfg.max_iters=20", "param_scheduler.end=20"} <= set(job.commands[0]) for job in jobs)


def test_rates_are_scored_without_the_test_images(study: Study) -> None:
    jobs = study.rate_jobs()
    assert len(jobs) == 2 * 2 * len(METHODS)  # the largest and the smallest share
    assert not any("tools/test.py" in command for job in jobs for command in job.commands)


def test_best_rate_on_held_out_images_is_that_of_the_nearer_share(study: Study, tmp_path: Path) -> None:
    dataset = tokens_in(tmp_path / "tokens")
    with pytest.raises(ValueError, match="no rate of pixels was scored"):
        choose_rates(study)
    for name in METHODS:
        for fraction, best in ((1.0, 1e-3), (0.1, 4e-3)):
            for rate in SIZE.rates:
                scored(study.rate_folder(name, fraction, rate), dataset, 60.0 + (rate == best))
    found = choose_rates(study)
    assert [found["seit", fraction] for fraction in SIZE.fractions] == [1e-3, 1e-3, 4e-3]
    assert "| SeiT, 10 % | 60.0 | 61.0 |" in make_tables(study)["rates"]


def test_tables_have_means_of_tests_and_say_what_was_not_run(study: Study, tmp_path: Path) -> None:
    dataset = tokens_in(tmp_path / "tokens")
    for seed, score in enumerate((70.0, 72.0)):
        scored(study.score_folder("seit", 1.0, seed), dataset, 99.0, score)
    tables = make_tables(study)
    assert "| SeiT | 71.0 +- 1.4 | not run | not run |" in tables["scores"]
    assert "| tokens, 100 % | 10 | " in tables["storage"] and "| pixels, 100 % | not run |" in tables["storage"]
    assert "| without TokenAdapt | 71.0 +- 1.4 | not run |" in tables["adapts"]
    scored(study.score_folder("pixels", 1.0, 0), dataset, 99.0, 50.0)
    assert "| pixels | 50.0 (1 of 2 seeds) | not run |" in make_tables(study)["scores"]
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: scores -->\nold\n<!-- end of table -->\nb\n")
    write_page(page, {"scores": tables["scores"]})
    text = page.read_text()
    assert "old" not in text and "71.0 +- 1.4" in text and text.endswith("<!-- end of table -->\nb\n")
    with pytest.raises(ValueError, match="has no place for the table storage"):
        write_page(page, tables)


def test_jobs_that_are_done_do_not_run_again_and_others_do(tmp_path: Path) -> None:
    def job(name: str, code: str) -> Job:
        return Job(tmp_path / name, (("-c", f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r}); {code}"),))

    fails = f"import os; os.path.exists({str(tmp_path / 'right')!r}) or exit('wrong')"
    shown: list[str] = []
    with pytest.raises(ChildProcessError, match="failed: wrong"):
        run_jobs([job("a", ""), job("b", fails), job("c", "")], 1, shown.append)
    (tmp_path / "right").touch()
    assert run_jobs([job("a", ""), job("b", fails)], 1, shown.append) == 1
    assert (tmp_path / "ran").read_text() == "abb"
    with pytest.raises(ValueError, match="a was filled by another command, python -c"):
        run_jobs([job("a", "1")], 1, shown.append)


@pytest.mark.slow
def test_whole_study_runs_and_goes_on_where_it_was_stopped(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 10)):
        for label in range(10):
            folder = tmp_path / "images" / split / f"class-{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(60, size=(28, 28)) + 18 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
    for folder in ("tools", "configs"):
        (tmp_path / folder).symlink_to(repository / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    main = tool_main("study.py")
    command = ["--size", "small", "--images", "images"]
    assert main(command) == 0
    out = tmp_path / "work_dirs" / "study-small"
    assert "not run" not in (out / "tables.md").read_text()
    score = out / "scores" / "seit-50pct-seed0"
    assert json.loads((score / "metrics.json").read_text())["accuracy/top1"] >= 0
    (score / "done").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "1 run now, 8 done before" in capsys.readouterr().out
