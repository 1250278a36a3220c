"""Measuring steps of tokenizers that are given: integers without a codebook, and label maps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seitpp.workflow import timing
from seitpp.workflow.images import open_pictures
from seitpp.workflow.recipes import classifier_recipe, mtm_recipe
from seitpp.workflow.seg_recipes import segmentor_recipe
from seitpp.workflow.setup import Lengths, choose_setup, choose_tokenizer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SECONDS", 0.0)


def test_steps_on_coefficients_are_measured(
    tmp_path: Path, write_pictures: Callable[..., Path], repository: Path
) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path)))
    tokenizer = choose_tokenizer(pictures, str(repository / "configs/tokenizers/block_dct_q50.py"), 16)
    setup = choose_setup("out", "images", pictures, tokenizer, "tiny", "seit")
    assert timing.seconds_per_step(classifier_recipe(setup, Lengths(train=2)), setup) > 0


@pytest.mark.parametrize("method", ["seit", "mtm"])
def test_steps_of_a_segmentor_are_measured(tmp_path: Path, write_pictures: Callable[..., Path], method: str) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path)))
    pictures = replace(pictures, kind="segmentation", pixel_shares=np.full((2, 2), 0.5))
    setup = choose_setup("out", "images", pictures, choose_tokenizer(pictures, None, None), "tiny", method)
    assert setup.network.depth == 4
    for recipe in (segmentor_recipe, *([mtm_recipe] if method == "mtm" else [])):
        assert timing.seconds_per_step(recipe(setup, Lengths(2, 2, 2)), setup) > 0
