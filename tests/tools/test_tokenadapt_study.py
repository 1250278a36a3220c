"""`tools/analysis_tools/tokenadapt_study.py`: which runs it starts, and what its tables say."""

import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

TOOL = Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "tokenadapt_study.py"


@pytest.fixture(scope="module")
def study() -> dict:
    return runpy.run_path(str(TOOL))


@pytest.fixture
def cfg() -> Config:
    return Config(
        dict(train_cfg=dict(max_epochs=10), param_scheduler=dict(warmup=2), train_dataloader=dict(batch_size=20))
    )


def test_fewer_images_train_for_as_many_steps(study: dict, cfg: Config) -> None:
    options = dict(option.split("=", 1) for option in study["run_options"](cfg, 45, 205, seed=1))
    chosen = [int(index) for index in options["train_dataloader.dataset.indices"].strip("[]").split(",")]
    assert len(set(chosen)) == 45 and chosen == sorted(chosen) and chosen[0] >= 0 and chosen[-1] < 205
    epochs = int(options["train_cfg.max_epochs"])
    assert epochs * (45 // 20) == 10 * (205 // 20)
    assert int(options["param_scheduler.end"]) == epochs
    assert float(options["param_scheduler.warmup"]) / epochs == 2 / 10
    assert options["randomness.seed"] == "1"


def test_all_images_train_as_the_config_says(study: dict, cfg: Config) -> None:
    options = study["run_options"](cfg, None, 205, seed=0)
    assert options == ["randomness.seed=0", "train_cfg.val_interval=11", "default_hooks.checkpoint.interval=10"]


def test_seeds_choose_other_images(study: dict, cfg: Config) -> None:
    chosen = [study["run_options"](cfg, 45, 205, seed)[1] for seed in (0, 1, 0)]
    assert chosen[0] == chosen[2] != chosen[1]


def scores(accuracy: float, psnr: float | None) -> dict[str, float]:
    found = {"accuracy": accuracy, "flip_accuracy": accuracy, "flip_accuracy_direct": 10.0, "flip_accuracy_copy": 5.0}
    if psnr is not None:
        found |= {"flip_psnr": psnr, "flip_psnr_direct": 12.0, "flip_psnr_copy": 11.0, "flip_psnr_tokenizer": 30.0}
    return {f"token_adapt/{name}": value for name, value in found.items()}


def test_tables_show_means_over_seeds_and_the_baselines(study: dict) -> None:
    rows = study["markdown"]({"all": [scores(60, 20), scores(70, 22)], "few": [scores(50, 19)]}).splitlines()
    assert rows[:6] == [
        "| tokens exact (%) | flip |",
        "| --- | --- |",
        "| all | 65.0 +- 7.1 |",
        "| few | 50.0 |",
        "| direct | 10.0 |",
        "| copy | 5.0 |",
    ]
    assert "| all | 21.0 +- 1.4 |" in rows and "| tokenizer | 30.0 |" in rows


def test_tokenizer_that_cannot_decode_has_no_table_of_psnr(study: dict) -> None:
    assert "PSNR" not in study["markdown"]({"all": [scores(60, None)]})


@pytest.mark.parametrize("images", [19, 10**6])
def test_numbers_that_no_run_can_take_are_refused(study: dict, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = Config(
        dict(default_scope="seitpp", train_dataloader=dict(batch_size=20, dataset=dict())),
    )
    main = study["main"]
    monkeypatch.setitem(main.__globals__, "read_config", lambda path: cfg)
    monkeypatch.setattr(main.__globals__["DATASETS"], "build", lambda config: range(205))
    with pytest.raises(ValueError, match=f"--images {images} is not between a batch, 20, and all images, 205"):
        main(["CONFIG", "--images", str(images)])
