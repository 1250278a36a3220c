"""The page about a run, made of what its steps leave behind."""

import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.tools import tool_main
from seitpp.evaluation.predictions import Predictions, read_predictions, write_predictions
from seitpp.storage import StoreReader
from seitpp.visualization.page import HtmlPage
from seitpp.workflow import Plan, headline, report, report_pictures, write_report


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, write_pictures: Callable[..., Path], plan_of: Callable[..., Plan]
) -> Plan:
    """A plan whose stores are real, and whose training is made up; three of four validation images are right."""
    tmp_path = tmp_path_factory.mktemp("finished")
    plan = plan_of(write_pictures(tmp_path / "<b>ees & ants"), tmp_path / "out")
    plan.save()
    tokenize = tool_main("tokenize_images.py")
    for step in plan.steps[:2]:
        assert tokenize([*step.command[2:], "--workers", 0]) == 0
    store = StoreReader(tmp_path / "out" / "tokens" / "val")
    scores = np.full((4, 2), 0.1, np.float32)
    scores[np.arange(4), [0, 0, 1, 0]] = 0.9
    predictions = Predictions(
        scores=scores,
        indices=np.arange(4),
        labels=store.labels.astype(np.int64),
        classes=store.classes,
        store_indices=np.arange(4),
    )
    (tmp_path / "out" / "metrics").mkdir()
    write_predictions(tmp_path / "out" / "metrics" / "predictions.npz", predictions)
    (tmp_path / "out" / "metrics" / "score.json").write_text(json.dumps({"accuracy/top1": 75.0}))
    (tmp_path / "out" / "metrics" / "knn.json").write_text(json.dumps({"k10_accuracy/top1": 62.5}))
    log = tmp_path / "out" / "train" / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    lines = [{"loss": 0.5, "epoch": 1, "iter": 4, "step": 4}, {"accuracy/top1": 75.0, "step": 1}]
    log.write_text("\n".join(map(json.dumps, lines)))
    return plan


def test_report_shows_scores_pictures_and_commands(finished: Plan) -> None:
    plan = replace(finished, notes=["4 images", "warning: too few epochs"])
    page = write_report(plan, {step.name: 12.0 for step in finished.steps}).read_text()
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    assert "75.0 % of 4 validation images are classified right (always saying the commonest class: 50.0 %)" in text
    assert re.search(r"vote of the 10 nearest training images, .*62\.5 %", text, re.DOTALL)
    assert "taken for ant (0.90), is bee (0.10)" in text
    for step in finished.steps:
        assert step.line in text
    assert page.count("data:image/png") >= 5  # confusion, curves, mistake, reconstructions, augmentations
    assert "<b>ees" not in page and "<b>ees & ants: a model of your images" in text
    assert "Before it began: too few epochs" in text
    assert headline(finished) in text


def test_mistakes_are_shown_without_the_images(finished: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(finished.facts["images"]["val"], "root", "gone")
    page = HtmlPage("Mistakes")
    predictions = read_predictions(Path(finished.out) / "metrics" / "predictions.npz")
    report_pictures.add_mistakes(page, finished, predictions)
    assert "taken for ant (0.90), is bee (0.10)" in page.render() and page.render().count("data:image/png") == 1


def test_codes_are_shown_where_nothing_decodes_them(finished: Plan, tmp_path: Path) -> None:
    undecoded = replace(finished, out=str(tmp_path))
    shutil.copytree(Path(finished.out) / "tokens", tmp_path / "tokens")
    (tmp_path / "tokens" / "val" / "report" / "reconstructions.png").unlink()
    page = HtmlPage("Codes")
    report_pictures.add_reconstructions(page, undecoded)
    assert "has no decoder here" in page.render() and page.render().count("data:image/png") == 4


def test_copies_of_training_images_are_counted(finished: Plan, tmp_path: Path) -> None:
    copied = replace(finished, out=str(tmp_path))
    for part, page in (("val", HtmlPage("Parts")), ("train", HtmlPage("Copies"))):
        shutil.rmtree(tmp_path / "tokens", ignore_errors=True)
        for name, source in (("train", "train"), ("val", part)):
            shutil.copytree(Path(finished.out) / "tokens" / source, tmp_path / "tokens" / name)
        report.add_leaks(page, copied)
        leaks = "16 of 16 validation images have the tokens of a training image" in page.render()
        assert leaks == (part == "train") == ("browse_store.py" in page.render())
