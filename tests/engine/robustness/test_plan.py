"""The plan of a run: what a config's `robustness` means, and what is left out without data."""

from pathlib import Path
from typing import Any

import pytest

from seitpp.engine.robustness import read_plan

SECTION: dict[str, Any] = {
    "data_root": "",
    "clean": {"source": "clean", "num_expected": 9},
    "benchmarks": {
        "noise": {"title": "Noise", "corruption": "gaussian_noise", "severities": [1, 5]},
        "objects": {"layout": "objectnet", "source": "objects"},
        "more": {"source": "more", "candidates": "matched", "border": 3},
    },
    "paper": {"SeiT": {"noise": 50.7}},
}


@pytest.fixture
def section(tmp_path: Path) -> dict[str, Any]:
    """A section whose data are there, but for `objects`."""
    for name in ("clean", "more"):
        (tmp_path / name).mkdir()
    return {**SECTION, "data_root": str(tmp_path)}


def test_passes_of_all_data_that_are_there(section: dict, tmp_path: Path) -> None:
    plan = read_plan(section, seed=7, order="imagenet-c")
    assert [one.key for one in plan.passes] == ["clean", "noise/1", "noise/5", "more"]
    assert plan.absent == {"objects": f"{tmp_path}/objects does not exist"}
    assert [one.title for one in plan.benchmarks] == ["Noise", "objects", "more"]
    clean, noise, _, more = plan.passes
    assert plan.clean is clean
    assert (clean.source, clean.options, clean.subset) == (f"{tmp_path}/clean", {}, True)
    corruption = {"kind": "gaussian_noise", "severity": 1, "seed": 7, "order": "imagenet-c"}
    assert (noise.source, noise.options, noise.num_expected) == (clean.source, {"corruption": corruption}, 9)
    assert (more.candidates, more.options, more.subset) == ("matched", {"border": 3}, False)


def test_own_images_take_the_place_of_the_clean_ones(section: dict, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.touch()
    plan = read_plan(section, clean={"source": str(own), "root": "somewhere"}, only=["noise"])
    assert [(one.source, one.options["root"], one.num_expected) for one in plan.passes] == [
        (str(own), "somewhere", None)
    ] * 3


def test_published_corruptions_take_the_place_of_made_ones(section: dict, tmp_path: Path) -> None:
    for severity in (1, 5):
        (tmp_path / "c" / "gaussian_noise" / str(severity)).mkdir(parents=True)
    plan = read_plan(section, imagenet_c=str(tmp_path / "c"), only=["noise"])
    assert [(one.key, one.source, one.options) for one in plan.passes[1:]] == [
        ("noise/1", f"{tmp_path}/c/gaussian_noise/1", {}),
        ("noise/5", f"{tmp_path}/c/gaussian_noise/5", {}),
    ]
    assert read_plan({**section, "imagenet_c": "c"}).passes[1].source == f"{tmp_path}/c/gaussian_noise/1"


def test_candidates_are_chosen_for_objectnet_alone(section: dict, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    found = {one.benchmark: one.candidates for one in read_plan(section, candidates="all").passes}
    assert found == {"clean": "all", "noise": "all", "objects": "all", "more": "matched"}
    assert read_plan(section).passes[3].candidates == "matched"


@pytest.mark.parametrize("layout", ["imagenet_r", "imagenet_sketch", "objectnet", "folders"])
def test_classes_outside_of_a_set_compete_unless_its_rule_is_another(layout: str, tmp_path: Path) -> None:
    """A part of ImageNet-Sketch would be too easy if its own classes alone competed."""
    (one,) = read_plan({"benchmarks": {"x": {"layout": layout, "source": str(tmp_path), "subset": True}}}).passes
    assert one.candidates == ("matched" if layout in ("imagenet_r", "objectnet") else "all")


def test_without_clean_images_noise_is_left_out(section: dict, tmp_path: Path) -> None:
    (tmp_path / "clean").rmdir()
    plan = read_plan(section)
    assert [one.key for one in plan.passes] == ["more"]
    assert plan.clean is None
    assert plan.absent["noise"] == f"{tmp_path}/clean does not exist"


def test_missing_data_of_what_is_named_are_an_error(section: dict, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--only objects: .*objects does not exist; docs/benchmarks.md"):
        read_plan(section, only=["objects"])
    with pytest.raises(FileNotFoundError, match="--images: none does not exist"):
        read_plan(section, clean={"source": "none"})
    with pytest.raises(
        FileNotFoundError, match=r"none of the benchmarks' data are there; looked for \S*/nowhere/clean"
    ):
        read_plan({**section, "data_root": str(tmp_path / "nowhere")})
    plan = read_plan(section, only=["more"])
    with pytest.raises(ValueError, match="--only more: it is empty"):
        plan.leave_out("more", "it is empty")


def test_a_plan_of_which_nothing_is_left_is_an_error(section: dict) -> None:
    plan = read_plan({**section, "clean": {}})
    with pytest.raises(ValueError, match=r"there is nothing to run: .*objects does not exist; .*it is empty"):
        plan.leave_out("more", "it is empty")


@pytest.mark.parametrize(
    ("benchmark", "message"),
    [
        ({"source": "a", "layuot": "folders"}, r"benchmarks.x.layuot, which nothing reads; did you mean layout"),
        ({"source": "a", "layout": "imagenet_a"}, "x.layout is 'imagenet_a', expected one of folders"),
        ({"corruption": "gaussian_noise"}, "x is a corruption without severities"),
        (
            {"corruption": "gaussian_noise", "severities": [1, 6]},
            r"x.severities is \[1, 6\], expected different numbers",
        ),
        (
            {"corruption": "gaussian_noise", "severities": [1, 1]},
            r"x.severities is \[1, 1\], expected different numbers",
        ),
        ({}, "x needs either a source of images or a corruption"),
        ({"source": "a", "corruption": "gaussian_noise"}, "x needs either a source of images or a corruption"),
        ({"source": "a", "candidates": "some"}, "x.candidates is 'some', expected 'matched' or 'all'"),
        ([], r"robustness.benchmarks.x is \[\], expected a dict"),
    ],
)
def test_benchmarks_that_mean_nothing_are_refused(benchmark: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_plan({"benchmarks": {"x": benchmark}})


@pytest.mark.parametrize("name", ["clean", "noise/1"])
def test_names_of_other_results_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"benchmarks.{name}: a benchmark is called otherwise than clean"):
        read_plan({"benchmarks": {name: {"source": "a"}}})


def test_unknown_names_are_refused(section: dict) -> None:
    with pytest.raises(ValueError, match="--only nose: the config has no such benchmark; did you mean noise"):
        read_plan(section, only=["nose"])
    with pytest.raises(ValueError, match=r"the config has robustness.benchmark, which nothing reads; did you mean"):
        read_plan({"benchmark": {}})
