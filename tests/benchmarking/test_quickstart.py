"""The quickstart without its training: its data, its plan, and its table."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from seitpp.benchmarking.quickstart import plan
from seitpp.benchmarking.quickstart.digits import load_images, write_digits
from seitpp.benchmarking.quickstart.plan import CLASSIFIERS, RUNS, run_all
from seitpp.benchmarking.quickstart.table import results_table
from seitpp.io.config_file import read_config
from seitpp.storage import StoreReader


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's folder after tokenising."""
    folder = tmp_path_factory.mktemp("quickstart")
    write_digits(folder)
    return folder


def test_files_and_stores_hold_the_same_images_and_labels(data: Path) -> None:
    images, labels, splits = load_images()
    assert not (splits["train"] & splits["val"]).any() and (splits["train"] | splits["val"]).all()
    for split, chosen in splits.items():
        store = StoreReader(data / "tokens" / split)
        listed = [line.split() for line in (data / "images" / f"{split}.txt").read_text().splitlines()]
        assert [int(label) for _, label in listed] == store.labels.tolist() == labels[chosen].tolist()
        last = np.asarray(Image.open(data / "images" / split / listed[-1][0]))
        assert np.array_equal(last, (images[chosen][-1, 0] * 255).round().numpy())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """By work folder the options of what would have been trained there; scores are 90, and 92 for the second seed."""
    made: dict[str, list[str]] = {}

    def train_and_test(config: str, work_dir: Path, options: list[str], parallel: bool) -> dict[str, float]:
        assert parallel
        made[work_dir.as_posix()] = options
        return {"accuracy/top1": 92.0 if "seed1" in work_dir.parts else 90.0, "train_seconds": 10.0}

    monkeypatch.setattr(plan, "train_and_test", train_and_test)
    return made


def test_plan_names_configs_that_are_there_and_needs_earlier_runs(repository: Path) -> None:
    names = list(RUNS)
    for name, run in RUNS.items():
        assert (repository / run.config).is_file()
        assert all(names.index(need) < names.index(name) for need in run.needs)


def test_every_seed_has_its_own_mtm_and_all_have_one_token_adapt(calls: dict[str, list[str]]) -> None:
    found = run_all(Path("out"), seeds=2)
    assert {name: len(results) for name, results in found.items()} == dict.fromkeys(RUNS, 2) | {"tokenadapt": 1}
    assert set(calls) == {f"out/{name}" for name in RUNS} | {
        f"out/seed1/{name}" for name in RUNS if name != "tokenadapt"
    }
    assert calls["out/finetune"] == calls["out/mtm"] == []  # the config says both
    assert calls["out/seed1/finetune"] == [
        "randomness.seed=1",
        "model.backbone.init_cfg.checkpoint=out/seed1/mtm/epoch_100.pth",
    ]


def test_first_seed_is_that_of_the_configs(repository: Path) -> None:
    for run in RUNS.values():
        config = read_config(repository / run.config)
        assert config.randomness.seed == 0
        if "mtm" in run.needs:
            assert config.model.backbone.init_cfg.checkpoint == "work_dirs/quickstart/mtm/epoch_100.pth"


@pytest.mark.parametrize(("seeds", "score"), [(1, "90.0 %"), (2, "91.0 +- 1.4 %")])
def test_table_has_a_row_per_classifier_with_what_it_stores_costs_and_scores(
    data: Path, calls: dict[str, list[str]], seeds: int, score: str
) -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(results_table(data, run_all(Path("out"), seeds)))
    rows = [line for line in console.file.getvalue().splitlines() if score in line]
    assert len(rows) == len(CLASSIFIERS)
    assert "pixels" in rows[0] and " 64 " in rows[0]
    assert all("12 (19 %)" in row and "10 s" in row for row in rows[1:])
    assert "TokenAdapt 10 s" in rows[2] and "MTM 10 s" in rows[3]
