"""tools/analysis_tools/seg_baselines.py: scores by hand, mmseg's own metric, and stores that do not belong together."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric
from PIL import Image

from helpers.tools import tool_main
from seitpp.storage import StoreWriter

CLASSES = ["sky", "tree", "house", "boat"]


@pytest.fixture(scope="module")
def module(repository: Path) -> dict:
    return runpy.run_path(str(repository / "tools" / "analysis_tools" / "seg_baselines.py"))


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., str]:
    """Writes a store of the given codes (N, H, W) and label maps."""

    def write(name: str, codes: object, maps: object, classes: list[str] | None = CLASSES, size: int = 4) -> str:
        codes, path = np.asarray(codes), tmp_path / name
        options = {"codebook_size": size, "grid": codes.shape[1:], "tokenizer": {}, "classes": classes}
        with StoreWriter(path, label_kind="segmentation", **options) as writer:
            writer.append(codes)
        (path / "labels").mkdir()
        for number, labels in enumerate(maps):
            Image.fromarray(np.asarray(labels, np.uint8)).save(path / "labels" / f"{number:08d}.png")
        return str(path)

    return write


def test_scores_of_two_rows_of_three_pixels(module: dict, store: Callable, capsys: pytest.CaptureFixture) -> None:
    # Code 0: twice sky, once tree; code 1: tree; code 2: house, whose other pixel is ignored; code 3 never.
    train = store("train", [[[0, 0, 0], [1, 2, 2]]], [[[0, 0, 1], [1, 2, 255]]])
    # Voted: sky tree house / sky sky sky (code 3 takes the constant). An ignored pixel, and no boat anywhere.
    val = store("val", [[[0, 1, 2], [0, 3, 0]]], [[[0, 1, 1], [255, 0, 1]]])
    module["main"]([train, val, "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["classes"] == CLASSES
    constant, voted = facts["constant"], facts["per_code"]
    # Of the five pixels that count, two are sky.
    assert constant["class"] == 0
    assert constant["IoU"] == [pytest.approx(40), 0, None, None]
    assert constant["mIoU"] == pytest.approx(20)
    assert constant["mAcc"] == pytest.approx(50)
    assert constant["aAcc"] == pytest.approx(40)
    # Sky: 2 of 3 in the union; tree: 1 of 3; house: predicted once, never true.
    assert voted["IoU"] == [pytest.approx(200 / 3), pytest.approx(100 / 3), 0, None]
    assert voted["mIoU"] == pytest.approx(100 / 3)
    assert voted["mAcc"] == pytest.approx((100 + 100 / 3) / 2)
    assert voted["aAcc"] == pytest.approx(60)
    assert voted["unseen_share"] == pytest.approx(1 / 5)


def test_scores_are_those_of_mmsegs_metric_on_predicted_maps(
    module: dict, store: Callable, capsys: pytest.CaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    values = np.array([0, 1, 2, 255], np.uint8)
    codes, maps = rng.integers(4, size=(2, 20, 3, 2)), values[rng.choice(4, (2, 20, 12, 8), p=[0.4, 0.3, 0.2, 0.1])]
    paths = [store(name, codes[part], maps[part]) for part, name in enumerate(("train", "val"))]
    module["main"]([*paths, "--json"])
    found = json.loads(capsys.readouterr().out)["per_code"]
    pixels = codes.repeat(4, axis=2).repeat(4, axis=3)
    votes = [np.bincount(maps[0][(pixels[0] == code) & (maps[0] != 255)]).argmax() for code in range(4)]
    metric = IoUMetric(prefix="seg")
    metric.dataset_meta = {"classes": CLASSES}
    for predicted, true in zip(np.asarray(votes)[pixels[1]], maps[1], strict=True):
        samples = {"pred_sem_seg": predicted, "gt_sem_seg": true.astype(np.int64)}
        metric.process({}, [{key: {"data": torch.from_numpy(value)[None]} for key, value in samples.items()}])
    expected = metric.evaluate(20)
    assert {f"seg/{key}": round(found[key], 2) for key in ("mIoU", "mAcc", "aAcc")} == pytest.approx(
        expected, abs=0.011
    )


@pytest.mark.parametrize(
    ("size", "rows"), [((6,), [0, 0, 1, 1, 2, 2]), ((3,), [0, 1, 2]), ((2,), [0, 2]), ((4,), [0, 1, 1, 2])]
)
def test_pixels_belong_to_the_cell_of_their_centre(module: dict, size: tuple[int], rows: list[int]) -> None:
    found = module["codes_of_pixels"](np.array([[0], [1], [2]]), (*size, 1))
    assert found[:, 0].tolist() == rows


def test_table_names_every_class(module: dict, store: Callable, capsys: pytest.CaptureFixture) -> None:
    path = store("train", [[[0, 1]]], [[[0, 1]]])
    module["main"]([path, path])
    out = capsys.readouterr().out
    assert all(f"IoU {name}" in out for name in CLASSES)
    assert "100.00" in out


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"classes": CLASSES[::-1]}, "has other classes than .*train: the same names in another order"),
        ({"size": 5}, "val and .*train belong to different tokenizers: codebook_size 5 and 4"),
        ({"maps": [[[255, 255]]]}, "all pixels of a store are ignored, so there is nothing to score"),
        ({"maps": [[[0, 4]]]}, "00000000.png has the label 4, expected 0 to 3 for 4 classes"),
    ],
)
def test_stores_that_do_not_belong_together(
    module: dict, store: Callable, capsys: pytest.CaptureFixture, other: dict, message: str
) -> None:
    train = store("train", [[[0, 1]]], [[[0, 1]]])
    val = store("val", **{"codes": [[[0, 1]]], "maps": [[[0, 1]]], **other})
    assert tool_main("analysis_tools/seg_baselines.py")([train, val]) == 1
    assert re.search(message, capsys.readouterr().err)
