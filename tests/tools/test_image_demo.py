"""`tools/image_demo.py`: images, folders and stores to lines and pictures, and errors in one line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.classifier import TrainedClassifier, make_trained_classifier
from helpers.tools import tool_main
from seitpp.apis import TokenClassificationInferencer


@pytest.fixture(scope="module")
def main() -> Callable[..., int]:
    tool = tool_main("image_demo.py")
    return lambda *line: tool(line)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("trained"), num_images=3)


@pytest.fixture
def line(trained: TrainedClassifier) -> list:
    return [trained.config, "--checkpoint", trained.checkpoint, "--device", "cpu"]


def rows(printed: str) -> list[list[str]]:
    """Cells of the table's lines, without its head."""
    return [[cell.strip() for cell in row.split("│")[1:-1]] for row in printed.splitlines() if row.startswith("│")]


def test_image_to_the_inferencer_s_classes_and_a_picture(
    main: Callable, line: list, trained: TrainedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    image = trained.images / "0001.png"
    shown = ["--topk", 2, "--show-dir", tmp_path / "shown"]
    assert main(image, *line, "--tokenizer", trained.store, *shown) == 0
    printed = capsys.readouterr().out
    infer = TokenClassificationInferencer(trained.config, trained.checkpoint, "cpu", tokenizer=trained.store)
    (result,) = infer(image, topk=2)
    assert rows(printed) == [
        ["0001" if rank == 0 else "", str(entry["label"]), entry["class"], f"{entry['score']:.4f}"]
        for rank, entry in enumerate(result["topk"])
    ]
    assert printed.splitlines()[-1] == f"pictures: {tmp_path / 'shown'}"
    assert os.listdir(tmp_path / "shown") == ["0001.png"]


def test_folder_and_store_have_the_same_scores(
    main: Callable, line: list, trained: TrainedClassifier, capsys: pytest.CaptureFixture
) -> None:
    assert main(trained.images, *line, "--tokenizer", trained.store, "--topk", 1) == 0
    of_images = rows(capsys.readouterr().out)
    assert main(trained.store, *line, "--topk", 1, "--batch-size", 3) == 0
    of_tokens = rows(capsys.readouterr().out)
    assert [row[0] for row in of_images] == ["0000", "0001", "0002"]
    assert [row[0] for row in of_tokens] == ["store-0", "store-1", "store-2"]
    assert [row[1:] for row in of_images] == [row[1:] for row in of_tokens]


def test_chosen_samples_of_a_store(
    main: Callable, line: list, trained: TrainedClassifier, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(trained.store, *line, "--indices", 2, 0, "--show-dir", tmp_path / "shown") == 0
    assert [row[0] for row in rows(capsys.readouterr().out) if row[0]] == ["store-2", "store-0"]
    assert sorted(os.listdir(tmp_path / "shown")) == ["store-0.png", "store-2.png"]


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("images/none.png", ["--tokenizer", "store"], "image images/none.png does not exist"),
        ("images", ["--opacity", "0.3"], "--opacity means nothing here: classifier.py is the config of a classifier"),
        ("store", ["--indices", "3"], "index 3 is out of range for 3 samples"),
        ("store", ["--topk", "0"], "topk is 0, expected a positive integer"),
        ("store", ["--tokenizer", "classifier.py"], "has no 'tokenizer'; expected a file of configs/tokenizers/"),
    ],
)
def test_errors_are_one_line(
    main: Callable,
    line: list,
    trained: TrainedClassifier,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    image: str,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(trained.config.parent)
    assert main(image, line[0].name, *line[1:], *options) == 1
    error = capsys.readouterr().err
    assert "error: " in error and message in error and error.count("\n") == 1


def test_checkpoint_is_asked_for(main: Callable, trained: TrainedClassifier, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(trained.images, trained.config)
    assert "--checkpoint" in capsys.readouterr().err
