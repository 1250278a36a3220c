"""The study's figures: what charts show of the records, and pictures of tokens where stores and weights are there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from seitpp.benchmarking.study import figures
from seitpp.benchmarking.study.figures import make_figures
from seitpp.benchmarking.study.methods import ENCODERS, HEADLINE, METHODS, SETS, SIZES
from seitpp.benchmarking.study.pictures import make_pictures
from seitpp.benchmarking.study.plan import Study
from seitpp.benchmarking.study.records import Run, read_records, write_records
from seitpp.visualization.method_styles import method_styles

CURVE = ((10.0, 2.0), (20.0, 1.0))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(SETS["fashion-mnist"], SIZES["full"], tmp_path / "images", tmp_path / "data", tmp_path / "out")


@pytest.fixture
def runs(study: Study) -> dict[str, Run]:
    """Every seed of every share, one point of top-1 better for each method and seed, through the file of records."""
    path = study.out / "records.jsonl"
    path.parent.mkdir()
    write_records(path, {run.name: run for run in made_runs(study)})
    return read_records(path)


def made_runs(study: Study) -> Iterator[Run]:
    for fraction, seeds in study.size.shares:
        for seed in range(seeds):
            for number, (name, method) in enumerate(METHODS.items()):
                run, size = study.score_name(name, fraction, seed), 500 if method.data == "pixels" else 50
                data = {"num_images": 1000, "num_bytes": int(fraction * 1000 * size), "curve": CURVE}
                yield Run(run, test=70.0 + number + seed, **data)
            for name in ENCODERS:
                yield Run(study.encoder_name(name, fraction, seed), curve=CURVE)
    for name in HEADLINE:
        scores = {"clean": 70.0, "gaussian_noise/1": 60.0, "gaussian_noise/3": 40.0, "gaussian_blur/1": 50.0}
        metrics = {f"robustness/{key}": score for key, score in scores.items()}
        yield Run(study.robustness_name(name), metrics=metrics)


def drawn(runs: dict[str, Run], study: Study, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    """Return positional and named arguments of each function that draws a chart, by its name."""
    seen = {}
    for name in ("draw_seed_scores", "draw_storage_accuracy", "draw_curves", "draw_severity_curves"):

        def noted(*args: object, name: str = name, **options: object) -> Figure:
            seen[name] = (args, options)
            return Figure()

        monkeypatch.setattr(figures, name, noted)
    make_figures(runs, study, study.out / "figures")
    return seen


def test_records_alone_make_all_charts(runs: dict[str, Run], study: Study) -> None:
    paths = make_figures(runs, study, study.out / "new" / "images")
    names = ["scores", "storage", "losses", "robustness"]
    assert [path.name for path in paths] == [f"study_fashion-mnist_{name}.png" for name in names]
    for path in paths:
        assert path.stat().st_size < 150_000
        with Image.open(path) as picture:
            assert 700 <= picture.width <= 1300


def test_charts_show_the_scores_bytes_curves_and_severities_of_the_records(
    runs: dict[str, Run], study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = drawn(runs, study, monkeypatch)
    scores, columns = seen["draw_seed_scores"][0]
    assert columns == ["100 %", "60 %", "20 %", "10 %"] and list(scores) == [one.title for one in METHODS.values()]
    score = 70.0 + list(METHODS).index("seit")
    assert scores["SeiT"] == {
        "10 %": [score, score + 1, score + 2],
        **{share: [score] for share in ("100 %", "60 %", "20 %")},
    }
    (points,), _ = seen["draw_storage_accuracy"]
    first, *_, last = [tuple(one) for one in points if one.method == "SeiT"]
    assert first == ("100 %", "SeiT", 50_000, score, None) and last == ("10 %", "SeiT", 5000, score + 1, 1.0)
    named = [(one.name, one.method) for one in points if one.name]
    assert sorted(named) == sorted((share, name) for share in columns for name in ("pixels", "SeiT"))  # the lowest
    (curves, keys), options = seen["draw_curves"]
    assert len(keys) == 2 and len(curves) == 3 * (len(HEADLINE) + len(ENCODERS))
    steps, values = curves[study.score_name("seit", 0.1, 2)][keys[0]]
    assert list(zip(steps, values, strict=True)) == list(CURVE)
    assert keys[1] in curves[study.encoder_name("mtm", 0.1, 0)]
    assert set(options["groups"].values()) == {METHODS[name].title for name in HEADLINE} == set(options["colors"])
    assert options["groups"][study.encoder_name("mtm", 0.1, 0)] == "SeiT++ w/ MTM"
    severities = seen["draw_severity_curves"][0][0]
    assert severities["SeiT"] == {"Gaussian noise": [(0, 70), (1, 60), (3, 40)], "Gaussian blur": [(0, 70), (1, 50)]}


def test_methods_look_alike_in_charts_of_all_and_of_the_headline() -> None:
    every = method_styles(method.title for method in METHODS.values())
    headline = method_styles(METHODS[name].title for name in HEADLINE)
    assert headline.items() <= every.items() and len(set(every.values())) == len(every)


def test_charts_of_what_was_not_run_are_left_alone(study: Study, tmp_path: Path) -> None:
    assert make_figures({}, study, tmp_path) == []
    encoder = study.encoder_name("mtm", 0.1, 0)
    scored = study.score_name("seit", 0.1, 1)
    kept = tmp_path / "study_fashion-mnist_losses.png"
    kept.write_text("an older one")
    paths = make_figures({scored: Run(scored, test=70.0)}, study, tmp_path)
    assert [path.name for path in paths] == ["study_fashion-mnist_scores.png"]
    assert kept.read_text() == "an older one"
    assert make_figures({encoder: Run(encoder, curve=CURVE)}, study, tmp_path) == [kept]


def test_pictures_are_left_out_without_a_store_or_weights(study: Study, tmp_path: Path) -> None:
    assert make_pictures(study, tmp_path) == []
    (study.store("tokens") / "test").mkdir(parents=True)
    assert make_pictures(study, tmp_path) == []
