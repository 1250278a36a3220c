"""Recipes as text: mmengine reads them, and their models train."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seitpp.engine.config_checks import check_run
from seitpp.io.config_file import read_config
from seitpp.workflow import Plan, timing
from seitpp.workflow.images import open_pictures
from seitpp.workflow.recipes import classifier_recipe, mtm_recipe, token_adapt_recipe
from seitpp.workflow.setup import Lengths, Setup, choose_setup, choose_tokenizer


@pytest.fixture
def setup_of(tmp_path: Path, write_pictures: Callable[..., Path]) -> Callable[[str], Setup]:
    """Return a function that gives the setup of a method."""

    def setup(method: str) -> Setup:
        pictures = open_pictures(str(write_pictures(tmp_path / "images")))
        tokenizer = choose_tokenizer(pictures, None, None)
        made = choose_setup("out", "images", pictures, tokenizer, "tiny", method)
        images = {"train": {"source": "a.csv"}, "val": {"source": "b.csv"}}
        return type(made)(**{**vars(made), "images": images})

    return setup


@pytest.mark.parametrize(
    ("method", "recipe"),
    [
        ("seit", classifier_recipe),
        ("seitpp", classifier_recipe),
        ("mtm", classifier_recipe),
        ("mtm", mtm_recipe),
        ("mtm", token_adapt_recipe),
    ],
)
def test_models_of_recipes_train(
    setup_of: Callable[[str], Setup], monkeypatch: pytest.MonkeyPatch, method: str, recipe: Callable
) -> None:
    monkeypatch.setattr(timing, "_SECONDS", 0.0)
    setup = setup_of(method)
    assert 0 < timing.seconds_per_step(recipe(setup, Lengths(2, 2, 2)), setup) < 60


@pytest.mark.parametrize("method", ["seit", "seitpp", "mtm"])
def test_recipes_are_whole_configs_that_begin_with_their_command(
    tmp_path: Path, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan], method: str
) -> None:
    plan = plan_of(write_pictures(tmp_path / "images"), tmp_path / "out", method=method)
    plan.save()
    for name, text in plan.configs.items():
        config = read_config(tmp_path / "out" / "configs" / f"{name}.py")
        assert "_base_" not in text
        if name != "tokenizer":
            assert "python tools/t" in text.split('"""')[1] and f"{name}.py" in text.split('"""')[1]
            check_run(config, "test" if name == "knn" else "train")
